"""Noticing that etcd's history has gone back: it was restored from a backup, or another cluster answers. Pure.

A watch from a revision that lies in the future of a restored etcd is silent for ever, and nothing in etcd says so. But in one
history the revision and the raft term never fall, and the cluster's id stays. Only linearizable answers are judged (a lagging
member may truly be behind), and only against what was known when the request was sent (answers may overtake one another).
"""

from dataclasses import dataclass
from typing import Protocol, Self

__all__ = ["Epoch", "Header", "History", "Mark"]


class Header(Protocol):
    """What of etcd's ResponseHeader is looked at."""

    @property
    def cluster_id(self) -> int:
        """Identity of the cluster, made from its first members' peer URLs and its token."""

    @property
    def raft_term(self) -> int:
        """Counts elections."""

    @property
    def revision(self) -> int:
        """The store's revision."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a history was seen."""

    cluster_id: int
    raft_term: int
    revision: int

    @classmethod
    def of(cls, header: Header) -> Self:
        """The mark that an answer leaves."""
        return cls(header.cluster_id, header.raft_term, header.revision)

    def precedes(self, later: Self) -> bool:
        """Whether `later` can be the same history, further on."""
        same = self.cluster_id == later.cluster_id
        return same and self.raft_term <= later.raft_term and self.revision <= later.revision

    def joined(self, other: Self) -> Self:
        """The furthest of two marks of one history."""
        return type(self)(self.cluster_id, max(self.raft_term, other.raft_term), max(self.revision, other.revision))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is known of the history when a request is sent."""

    replaced: int
    """How often the history was replaced by another."""
    mark: Mark | None


class History:
    """The furthest mark seen of the present history."""

    def __init__(self) -> None:
        self.now = Epoch(0, None)

    def observe(self, sent: Epoch, header: Header) -> None:
        """Take in a linearizable answer; `sent` is what `now` was when its request was sent."""
        if sent.replaced != self.now.replaced:
            return  # it may be an answer of the old history; the next ones will tell
        seen = Mark.of(header)
        if sent.mark is not None and not sent.mark.precedes(seen):
            self.now = Epoch(sent.replaced + 1, seen)
        else:
            self.now = Epoch(sent.replaced, seen if self.now.mark is None else self.now.mark.joined(seen))
