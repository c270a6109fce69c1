"""Metrics of a daemon's client of etcd, and the condition that etcd answers."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from romana.counting import Counter, Labels
from romana.health.evidence import Evidence
from romana.health.families import Source, counter, gauges, histogram
from romana.store import schema
from romana.store.api import Store
from romana.store.counts import StoreCounts, WatchCounts

__all__ = ["etcd_evidence", "store_source"]


def etcd_evidence(store: Store) -> Evidence:
    """That etcd answers with a quorum: one linearizable read of one small key."""

    async def ask() -> str:
        return f"revision {(await store.list(schema.KEY)).revision}"

    return Evidence("etcd", ask)


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
