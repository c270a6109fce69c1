"""What a benchmark found. Pure.

A `Series` is one thing measured, a list of samples or one rate; it may name the series that it is compared with (its peer), and
then has a ratio of medians to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from romana.errors import InvalidInput

__all__ = ["Report", "Series", "percentile"]

UNITS = ("ms", "µs", "s", "1/s", "MiB", "bytes", "count")


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one quantity; of a rate ("1/s") more is better, of every other unit less."""

    name: str
    unit: str
    """One of `UNITS`."""
    samples: tuple[float, ...]
    """At least one."""
    peer: str = ""
    """The name of the series in the same report that it is compared with; empty for a peer or limit itself."""

    def __post_init__(self) -> None:
        if not self.samples:
            raise InvalidInput(f"series {self.name!r}: no samples were taken")
        if self.unit not in UNITS:
            raise InvalidInput(f"series {self.name!r}: unit {self.unit!r} is none of {', '.join(UNITS)}")

    @property
    def median(self) -> float:
        """The middle sample."""
        return median(self.samples)

    def as_dict(self, peers: Mapping[str, "Series"]) -> dict[str, Any]:
        """The JSON form; `ratio` is this median divided by the peer's, null where there is none."""
        ordered = sorted(self.samples)
        return {
            "name": self.name,
            "unit": self.unit,
            "samples": len(ordered),
            "median": _rounded(self.median),
            "p99": _rounded(percentile(ordered, 99)),
            "least": _rounded(ordered[0]),
            "most": _rounded(ordered[-1]),
            "peer": self.peer or None,
            "ratio": self.ratio(peers),
        }

    def ratio(self, peers: Mapping[str, "Series"]) -> float | None:
        """Median by the peer's median; None without a peer, or when its median is 0."""
        peer = peers[self.peer].median if self.peer else 0.0
        return _rounded(self.median / peer) if peer else None


@dataclass(frozen=True, slots=True)
class Report:
    """All of one benchmark. `machine` is `romana.bench.machine.describe()`, `settings` what the run was told."""

    benchmark: str
    began: str
    """ISO 8601, UTC."""
    machine: Mapping[str, object]
    series: tuple[Series, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What a reader of the figures must know: what was not measured and why, what disturbed it."""

    def __post_init__(self) -> None:
        names = [series.name for series in self.series]
        doubles = sorted({name for name in names if names.count(name) > 1})
        strangers = sorted({series.peer for series in self.series} - {"", *names})
        if doubles or strangers:
            raise InvalidInput(f"report {self.benchmark}: series named twice: {doubles}; peers that are no series: {strangers}")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        peers = self._by_name()
        return {
            "benchmark": self.benchmark,
            "began": self.began,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "series": [series.as_dict(peers) for series in self.series],
            "notes": list(self.notes),
        }

    def rows(self) -> list[Sequence[str]]:
        """Of a table whose columns are `COLUMNS`."""
        return [_row(entry) for entry in self.as_dict()["series"]]

    COLUMNS = ("what", "unit", "median", "p99", "samples", "ratio", "to")

    def ratios(self) -> Iterable[tuple[Series, float]]:
        """The series that have one."""
        peers = self._by_name()
        for series in self.series:
            ratio = series.ratio(peers)
            if ratio is not None:
                yield series, ratio

    def _by_name(self) -> dict[str, Series]:
        return {series.name: series for series in self.series}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The sample at that percentile of samples in order, by nearest rank: always one that was taken."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def _row(entry: Mapping[str, Any]) -> Sequence[str]:
    ratio = "" if entry["ratio"] is None else f"{entry['ratio']:g}"
    numbers = (f"{entry['median']:g}", f"{entry['p99']:g}", str(entry["samples"]))
    return (entry["name"], entry["unit"], *numbers, ratio, entry["peer"] or "")


def _rounded(value: float) -> float:
    """To four significant digits: more would be noise."""
    return float(f"{value:.4g}")
