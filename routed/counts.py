"""What routed counts of its own work; `routed.metrics` shows it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from romana.counting import Counter

__all__ = ["RouteCounts"]


@dataclass(slots=True)
class RouteCounts:
    """Belongs to one router."""

    operations: Counter = field(default_factory=Counter)
    """By kind: add, replace, delete."""
    repairs: int = 0
    """Operations for which the store gave no cause: somebody else had changed the kernel."""
    desired: int = 0
    """Routes that should be there."""
    refused: int = 0
    """Operations of the last sync that the kernel refused."""
    foreign: int = 0
    """Routes of others in the place of ours, at the last sync."""

    @property
    def installed(self) -> int:
        """Routes that should be there and are, after the last sync."""
        return max(self.desired - self.refused, 0)

    def synced(self, kinds: Sequence[str], desired: int, refused: int, foreign: int, *, is_repair: bool) -> None:
        """A sync has carried out its plan; `is_repair`: the store is as it was at the last one that succeeded."""
        for kind in kinds:
            self.operations.count(kind)
        self.repairs += len(kinds) if is_repair else 0
        self.desired, self.refused, self.foreign = desired, refused, foreign
