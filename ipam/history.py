"""Which history the store's contents belong to, and whether they went back behind what somebody saw. Pure.

etcd does not say that it was restored from a backup: its keys are just older, and its revision may have overtaken the old one. So
the contents carry the name of their history, a random id under `history`, with the id of the etcd cluster that held them:

    held by another cluster now                       -> restored from a snapshot (which makes a cluster of another id)
    somebody saw this id at a higher revision         -> restored in place
    somebody saw an id that the store has never heard -> restored to before that id, or the contents are lost altogether
    somebody saw an id that a recovery has ended      -> known already; who saw it last has to re-assert

Revisions are compared within one id only. The reader's revision must have been read after `seen` was taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

__all__ = ["FORMER_MAX", "UNSEEN", "HistoryRecord", "Seen", "Verdict", "judge", "renewed", "waiting"]

FORMER_MAX = 64
"""Ended histories that are remembered: as many restores as a cluster may see while one node is away."""


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """What `history` holds."""

    id: str
    cluster_id: int
    former: tuple[str, ...] = ()
    """Ids that recoveries have ended, newest first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far somebody saw a history; nothing at all: an empty id."""

    history: str = ""
    revision: int = 0

    def further(self, history: str, revision: int) -> "Seen":
        """With this seen as well."""
        return Seen(history, max(self.revision, revision) if history == self.history else revision)


UNSEEN = Seen()


class Verdict(Enum):
    """What to think of the store."""

    SAME = "further on in the history that was seen"
    FORMER = "a recovery has ended the history that was seen"
    RESTORED = "behind what was seen: restored, or emptied"


def judge(record: HistoryRecord | None, cluster_id: int, revision: int, seen: Seen) -> Verdict:
    """What the store at `revision`, held by this cluster, is to somebody who saw that; `record` None: it has no history yet."""
    if record is None:
        return Verdict.RESTORED if seen.history else Verdict.SAME
    if record.cluster_id != cluster_id:
        return Verdict.RESTORED
    if not seen.history:
        return Verdict.SAME
    if seen.history == record.id:
        return Verdict.RESTORED if seen.revision > revision else Verdict.SAME
    return Verdict.FORMER if seen.history in record.former else Verdict.RESTORED


def renewed(record: HistoryRecord | None, new_id: str, cluster_id: int, seen: Iterable[Seen]) -> HistoryRecord:
    """The history that a recovery begins: it ends the store's own and those that were seen."""
    ended = [*(point.history for point in seen), *((record.id, *record.former) if record else ())]
    former = tuple(dict.fromkeys(name for name in ended if name))
    return HistoryRecord(new_id, cluster_id, former[:FORMER_MAX])


def waiting(nodes: Iterable[str], heard: Iterable[str], unknown: Iterable[str]) -> list[str]:
    """Nodes that a recovery waits for: `heard` are done or given up, `unknown` have called and are not among `nodes`."""
    return sorted((set(nodes) | set(unknown)) - set(heard))
