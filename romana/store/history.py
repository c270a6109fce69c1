"""Noticing that etcd's history has gone back: it was restored from a backup, or another cluster answers. Pure.

A watch from a revision that lies in the future of a restored etcd is silent for ever, and nothing in etcd says so. But in one
history the revision and the raft term never fall, and the cluster's id stays. Only linearizable answers are judged (a lagging
member may truly be behind), and only against what was known when the request was sent (answers may overtake one another).
"""

from dataclasses import dataclass
from typing import Protocol, Self

__all__ = ["Header", "History", "Mark"]


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


class History:
    """The furthest mark seen, and how often the history was replaced by another."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.replaced = 0

    def observe(self, sent: Mark | None, header: Header) -> None:
        """Take in a linearizable answer; `sent` is what `mark` was when its request was sent."""
        seen = Mark.of(header)
        if sent is not None and self.mark is not None and not sent.precedes(seen):
            if self.mark.precedes(seen):
                return  # another answer has told already
            self.replaced += 1
            self.mark = seen
        else:
            self.mark = seen if self.mark is None else self.mark.joined(seen)
