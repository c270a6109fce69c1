"""What a store's client counts of its own work; `romana.health.store_metrics` shows it. Pure.

Watches are counted by the first word of their prefix (`pods` for `pods/default/`): a daemon may have one for each namespace.
"""

from dataclasses import dataclass, field

from romana.counting import Distribution

__all__ = ["StoreCounts", "WatchCounts"]


@dataclass(slots=True)
class WatchCounts:
    """Watches below prefixes of one first word."""

    wanted: int = 0
    """How many somebody iterates over."""
    standing: int = 0
    """How many of them have a stream that etcd has confirmed."""
    interruptions: int = 0
    """How often a stream broke or could not be made."""
    batches: int = 0


@dataclass(slots=True)
class StoreCounts:
    """Belongs to one store, or to a daemon that opens one."""

    calls: Distribution = field(default_factory=Distribution)
    """Seconds of unary calls, by kind (get, list, txn, ...) and outcome; each attempt is one, a retried call is several."""
    watches: dict[str, WatchCounts] = field(default_factory=dict)

    def watch(self, prefix: str) -> WatchCounts:
        """Those of this prefix' first word."""
        return self.watches.setdefault(prefix.partition("/")[0] or "all", WatchCounts())
