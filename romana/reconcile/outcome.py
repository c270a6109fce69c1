"""Remembers how a daemon's syncs end: for its readiness, and for its metrics.

Put it outermost around a sync: what refuses to run it (a store that was restored) is then an outcome too.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from romana.counting import Distribution, outcome_of
from romana.reconcile.loop import Sync

__all__ = ["Outcome"]

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class Outcome:
    """`clock` is monotonic, in seconds."""

    clock: Callable[[], float] = time.monotonic
    seconds: Distribution = field(default_factory=lambda: Distribution(BOUNDS_S))
    """By outcome."""
    done_s: float | None = None
    """When the last sync that succeeded ended."""
    running_s: float | None = None
    """When the one that is under way began."""
    error: str = ""
    """Of the last sync; empty: it succeeded, or there was none."""

    def guard(self, sync: Sync) -> Sync:
        """The sync, its end remembered."""

        async def guarded() -> Mapping[str, object] | None:
            self.running_s = began_s = self.clock()
            outcome = "cancelled"
            try:
                told = await sync()
                outcome, self.error, self.done_s = "ok", "", self.clock()
            except Exception as err:
                outcome, self.error = outcome_of(err), str(err) or type(err).__name__
                raise
            finally:
                self.running_s = None
                self.seconds.observe(self.clock() - began_s, outcome)
            return told

        return guarded
