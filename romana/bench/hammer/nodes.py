"""The nodes as the admin last made them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from romana.bench.hammer.world import Node

__all__ = ["Incarnation", "Nodes"]


@dataclass(slots=True)
class Incarnation:
    """A machine with the uid that it has now, or is about to have."""

    spec: Node
    number: int = 0
    may_come_late: set[str] = field(default_factory=set)
    """Uids of which an AddNode had no answer."""

    @property
    def uid(self) -> str:
        """Its identity."""
        return f"{self.spec.name}.{self.number}"

    def renew(self) -> str:
        """Make it another incarnation; the uid that is no more."""
        old = self.uid
        self.number += 1
        return old


class Nodes:
    """All of them."""

    def __init__(self, specs: Sequence[Node]) -> None:
        self._all = [Incarnation(spec) for spec in specs]

    @property
    def count(self) -> int:
        """How many."""
        return len(self._all)

    def at(self, index: int) -> Incarnation:
        """One of them."""
        return self._all[index]

    def __iter__(self) -> Iterator[Incarnation]:
        return iter(self._all)
