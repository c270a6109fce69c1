"""Fresh evidence that something else answers, asked for no oftener than it is of use: one probe at a time, its age told.

    /readyz ─┐                      ┌─ the last probe ended within FRESH_S ─→ told as it is
    /readyz ─┼─→ Evidence.condition ┤
    gRPC ────┘                      └─ else: join the probe under way, or begin one; wait PATIENCE_S ──→ told as it is then

Nobody asks: nothing is sent. A thousand ask: one probe. A probe that does not come back is told by its age: `STALE_S` after
the last answer the condition fails, whatever the probe may still find. One that comes back with an error fails it at once:
the store's client has tried every member by then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from romana.errors import RomanaError
from romana.health.conditions import Condition, failed, met

__all__ = ["FRESH_S", "PATIENCE_S", "STALE_S", "Evidence"]

FRESH_S = 1.0
PATIENCE_S = 0.8
"""Kubernetes gives a probe one second unless told otherwise (`timeoutSeconds`): an answer without news is better than none."""
STALE_S = 10.0
"""Longer than a client of etcd needs to leave a frozen member for the next (8 s, docs/adr/0006): that alone is no outage."""


class Evidence:
    """`ask` gives the evidence in words, or raises a RomanaError. `clock` is monotonic, in seconds."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._words = ""
        self._heard_s: float | None = None
        self._error = "has not answered yet"
        self._ended_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    @property
    def heard_s(self) -> float | None:
        """When the last answer came, by the clock; None: never."""
        return self._heard_s

    async def condition(self) -> Condition:
        """Whether it answers, and since when we know; waits for news at most PATIENCE_S."""
        if self._clock() - self._ended_s > FRESH_S:
            if self._asking is None:
                self._asking = asyncio.create_task(self._probe(), name=f"probe {self._name}")
            await asyncio.wait({self._asking}, timeout=PATIENCE_S)
        return self.known()

    def known(self) -> Condition:
        """What is known now."""
        if self._heard_s is None:
            return failed(self._name, self._error)
        age_s = self._clock() - self._heard_s
        told = f"{self._words}, heard {age_s:.1f} s ago"
        if self._error:
            return failed(self._name, f"{self._error}; before: {told}")
        if age_s > STALE_S:
            return failed(self._name, f"does not answer; before: {told}")
        return met(self._name, told)

    async def close(self) -> None:
        """End a probe that is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _probe(self) -> None:
        began_s = self._clock()
        try:
            words = await self._ask()
        except RomanaError as err:
            self._error = str(err) or type(err).__name__
        else:
            # What was true when we asked: the answer may have been long on its way, or we long in reading it.
            self._words, self._heard_s, self._error = words, began_s, ""
        finally:
            self._asking, self._ended_s = None, self._clock()
