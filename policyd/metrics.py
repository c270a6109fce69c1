"""What policyd tells of itself: its metrics, and what must be so for policy to be in force."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, Metric

from policyd.counts import PolicyCounts
from policyd.state import State
from romana.health.conditions import Condition, failed, met
from romana.health.daemon import Health
from romana.health.families import gauge, histogram
from romana.health.store_metrics import Watches, etcd_evidence
from romana.health.sync_metrics import sync_source, synced
from romana.reconcile import Outcome
from romana.store.api import Store

__all__ = ["policyd_health"]


def policyd_health(health: Health, store: Store, watches: Watches, state: State, counts: PolicyCounts, outcome: Outcome) -> None:
    """From now on `health` tells how policyd does."""
    etcd = etcd_evidence(store)

    async def conditions() -> Sequence[Condition]:
        cache = (
            met("cache", "all that this node's policies mean is read") if state.whole else failed("cache", "not all is read yet")
        )
        return await etcd.condition(), watches.condition(), cache, synced("policy", outcome, lambda: "no sync yet")

    health.add(sync_source(outcome))
    health.add(lambda: _policy(counts))
    health.conditions = conditions


def _policy(counts: PolicyCounts) -> Iterator[Metric]:
    yield histogram("romana_policyd_compile_seconds", "Seconds that compiling the node's policy took", (), counts.compile_s)
    yield histogram("romana_policyd_apply_seconds", "Seconds that bringing the kernel to it took", (), counts.apply_s)
    words = "Newest etcd revision of what was compiled last"
    yield gauge("romana_policyd_revision_compiled", words, counts.compiled_revision)
    yield gauge("romana_policyd_revision_in_force", "Newest etcd revision of what is in the kernel", counts.revision_in_force)
    yield gauge("romana_policyd_pods", "Pod interfaces of this node that policy covers", counts.pods)
    yield gauge("romana_policyd_groups", "Groups of pods that share rules in a direction", counts.groups)
    yield gauge("romana_policyd_rules", "Rules of ours in the kernel, both families", counts.rules)
    yield gauge("romana_policyd_sets", "Sets of ours in the kernel, both families", counts.sets)
    yield CounterMetricFamily("romana_policyd_epochs", "How often connections were judged anew", value=counts.bumps)
    words = "Applies for which the store gave no cause: others had changed the kernel"
    yield CounterMetricFamily("romana_policyd_repairs", words, value=counts.repairs)
