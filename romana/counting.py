"""Counters and distributions that the core keeps and nobody waits for; `romana.health` shows them. Pure.

    core: count(labels), observe(seconds, labels) ──→ dicts of numbers ──→ romana.health.families ──→ /metrics

They belong to one event loop. Labels are a tuple of words from a small, fixed vocabulary (outcomes, kinds), never a name that
grows with the cluster. Names, units and meanings are given where they are shown, not here: docs/metrics.md.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from romana.errors import RomanaError

__all__ = ["Counter", "Distribution", "Labels", "Spread", "buckets", "outcome_of"]

Labels = tuple[str, ...]

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for how long a call takes: from one that etcd answers from memory to one that meets a deadline."""


@dataclass(slots=True)
class Counter:
    """How often each thing has happened."""

    values: dict[Labels, int] = field(default_factory=dict)

    def count(self, *labels: str, by: int = 1) -> None:
        """It has happened."""
        self.values[labels] = self.values.get(labels, 0) + by

    def total(self) -> int:
        """Of all labels."""
        return sum(self.values.values())


@dataclass(slots=True)
class Spread:
    """How many observations fell below each bound, the last above all of them; and their sum."""

    counts: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Distribution:
    """How large things were, in the unit of `bounds`, which are upper bounds that count as inside."""

    bounds: Sequence[float] = LATENCY_S
    spreads: dict[Labels, Spread] = field(default_factory=dict)

    def observe(self, value: float, *labels: str) -> None:
        """One was so large."""
        spread = self.spreads.get(labels)
        if spread is None:
            spread = self.spreads[labels] = Spread([0] * (len(self.bounds) + 1))
        spread.counts[bisect_left(self.bounds, value)] += 1
        spread.sum += value


def buckets(spread: Spread, bounds: Sequence[float]) -> list[tuple[str, int]]:
    """Prometheus' cumulative buckets: upper bound as text, and how many observations were at most that."""
    found, below = [], 0
    for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), spread.counts, strict=True):
        below += count
        found.append((bound, below))
    return found


def outcome_of(err: BaseException | None) -> str:
    """One word for how a call ended, from a fixed set: `ok`, a class of romana.errors in lower case, `cancelled`, or `bug`."""
    if err is None:
        return "ok"
    for kind in type(err).__mro__:
        if kind.__module__ == RomanaError.__module__ and kind is not RomanaError:
            return kind.__name__.lower()
    return "bug" if isinstance(err, Exception) else "cancelled"
