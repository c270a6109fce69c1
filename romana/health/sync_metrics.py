"""The condition that a daemon's last sync succeeded, and the metrics of its syncs."""

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from romana.health.conditions import Condition, failed, met
from romana.health.families import Source, gauge, histogram
from romana.reconcile import Outcome

__all__ = ["STUCK_S", "sync_source", "synced"]

STUCK_S = 60.0
"""A sync that runs for so long waits for something that does not come: a lock of the kernel's, a disk."""


def synced(name: str, outcome: Outcome, waits_for: Callable[[], str]) -> Condition:
    """Whether the kernel is as it should be; `waits_for` says why there was no sync yet."""
    now_s = outcome.clock()
    if outcome.running_s is not None and now_s - outcome.running_s > STUCK_S:
        return failed(name, f"the sync under way has run for {now_s - outcome.running_s:.0f} s")
    if outcome.error:
        since = "never before" if outcome.done_s is None else f"{now_s - outcome.done_s:.1f} s ago it succeeded"
        return failed(name, f"{outcome.error} ({since})")
    if outcome.done_s is None:
        return failed(name, waits_for())
    return met(name, f"synced {now_s - outcome.done_s:.1f} s ago")


def sync_source(outcome: Outcome) -> Source:
    """How long syncs took, and how long ago the last good one was."""

    def collect() -> Iterator[Metric]:
        yield histogram("romana_sync_seconds", "Seconds that syncs took", ("outcome",), outcome.seconds)
        age_s = -1.0 if outcome.done_s is None else outcome.clock() - outcome.done_s
        yield gauge("romana_sync_age_seconds", "Seconds since the last sync that succeeded; -1: none yet", age_s)

    return collect
