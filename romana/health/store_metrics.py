"""Metrics of a daemon's client of etcd, and the conditions that etcd answers and that what is known stays current."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from romana.counting import Counter, Labels
from romana.health.conditions import Condition, failed, met
from romana.health.evidence import STALE_S, Evidence
from romana.health.families import Source, counter, gauges, histogram
from romana.store import schema
from romana.store.api import Store
from romana.store.counts import StoreCounts, WatchCounts

__all__ = ["Watches", "etcd_evidence", "store_source"]


def etcd_evidence(store: Store) -> Evidence:
    """That etcd answers with a quorum: one linearizable read of one small key."""

    async def ask() -> str:
        return f"revision {(await store.list(schema.KEY)).revision}"

    return Evidence("etcd", ask)


class Watches:
    """That watches stand. etcd may answer reads and still refuse one (a role that was changed): then what is known gets old.

    One that is opened again is given STALE_S, counted from when somebody first asked. `clock` is monotonic, in seconds.
    """

    def __init__(self, counts: StoreCounts, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._clock = clock
        self._since_s: float | None = None

    def condition(self) -> Condition:
        """Whether all stand, or have not been down for long."""
        down = [f"{name}/" for name, watch in self._counts.watches.items() if watch.standing < watch.wanted]
        if not down:
            self._since_s = None
            return met("watches", f"{sum(watch.standing for watch in self._counts.watches.values())} stand")
        if self._since_s is None:
            self._since_s = self._clock()
        told = f"down for {self._clock() - self._since_s:.1f} s: {', '.join(sorted(down))}"
        return failed("watches", told) if self._clock() - self._since_s > STALE_S else met("watches", told)


def store_source(counts: StoreCounts) -> Source:
    """Calls and watches."""

    def collect() -> Iterator[Metric]:
        words = "Seconds that calls to etcd took, each attempt by itself"
        yield histogram("romana_store_call_seconds", words, ("kind", "outcome"), counts.calls)
        watches: dict[Labels, WatchCounts] = {(name,): watch for name, watch in counts.watches.items()}
        wanted: dict[Labels, float] = {key: watch.wanted for key, watch in watches.items()}
        standing: dict[Labels, float] = {key: watch.standing for key, watch in watches.items()}
        yield from gauges("romana_store_watches_wanted", "Watches that are followed", ("prefix",), wanted)
        yield from gauges("romana_store_watches_standing", "Of these, those that etcd has confirmed", ("prefix",), standing)
        yield _watch_counter("romana_store_watch_interruptions_total", "Streams that broke", watches, "interruptions")
        yield _watch_counter("romana_store_watch_batches_total", "Batches of events that watches told", watches, "batches")

    return collect


def _watch_counter(name: str, words: str, watches: dict[Labels, WatchCounts], field: str) -> Metric:
    return counter(name, words, ("prefix",), Counter({key: int(getattr(watch, field)) for key, watch in watches.items()}))
