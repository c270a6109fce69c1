"""What routed tells of itself: its metrics, and what must be so for its node's routes to be right."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, Metric

from romana.health.conditions import Condition, failed, met
from romana.health.daemon import Health
from romana.health.families import counter, gauge
from romana.health.store_metrics import Watches, etcd_evidence
from romana.health.sync_metrics import sync_source, synced
from romana.reconcile import Outcome
from romana.store.api import Store
from routed.counts import RouteCounts
from routed.state import State

__all__ = ["routed_health"]


def routed_health(health: Health, store: Store, watches: Watches, state: State, counts: RouteCounts, outcome: Outcome) -> None:
    """From now on `health` tells how routed does."""
    etcd = etcd_evidence(store)

    async def conditions() -> Sequence[Condition]:
        unread = state.unread
        cache = failed("cache", f"not read yet: {', '.join(unread)}") if unread else met("cache", "nodes/ and blocks/ are read")
        return await etcd.condition(), watches.condition(), cache, synced("routes", outcome, lambda: "no sync yet")

    health.add(sync_source(outcome))
    health.add(lambda: _routes(counts))
    health.conditions = conditions


def _routes(counts: RouteCounts) -> Iterator[Metric]:
    yield gauge("romana_routed_routes_desired", "Routes that should be in the kernel", counts.desired)
    yield gauge("romana_routed_routes_installed", "Of these, those that are, after the last sync", counts.installed)
    yield gauge("romana_routed_foreign_routes", "Routes of others in the place of ours", counts.foreign)
    yield counter("romana_routed_operations_total", "Changes of the kernel's routes", ("operation",), counts.operations)
    words = "Changes for which the store gave no cause: others had changed the kernel"
    yield CounterMetricFamily("romana_routed_repairs", words, value=counts.repairs)
