"""The health of one daemon, wired: what `main` of each makes first, so that it answers while the daemon still waits for etcd.

health = Health("routed", settings.health.routed, [sources])
async with health.serving():                 /livez 200, /readyz 503 "start failed: ..."
    health.starting(err)                     ... the reason, as often as it is known
    health.conditions = ask                  from now on /readyz is what `ask` says
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from romana.health.address import parse_health_address
from romana.health.conditions import Condition, all_met, failed, report
from romana.health.exposition import Exposition
from romana.health.families import Source
from romana.health.request import Answer
from romana.health.server import HealthServer

__all__ = ["Conditions", "Health"]

DISTRIBUTION = "romana-network"

Conditions = Callable[[], Awaitable[Sequence[Condition]]]
"""Asks for everything that must be so, now."""


class Health:
    """Of the daemon of this name; `address` is the value of its key `health.<daemon>`, which the configuration has checked."""

    def __init__(self, daemon: str, address: str, sources: Sequence[Source] = ()) -> None:
        self.conditions: Conditions | None = None
        """None while the daemon starts."""
        self._starting = "it has just been started"
        self._exposition = Exposition(daemon, version(DISTRIBUTION), sources)
        parsed = parse_health_address(address)
        pages = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self.metrics}
        self._server = HealthServer(parsed, pages, f"health.{daemon}") if parsed else None

    def add(self, source: Source) -> None:
        """Show these metrics too."""
        self._exposition.add(source)

    def starting(self, why: Exception) -> None:
        """Why the daemon does not work yet."""
        self._starting = str(why) or type(why).__name__

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer as long as the block runs; nothing at all where the address is `off`."""
        if self._server is None:
            yield
            return
        async with self._server.serving():
            yield

    async def metrics(self) -> Answer:
        """The page `/metrics`."""
        return await self._exposition.page()

    async def _livez(self) -> Answer:
        return Answer.text(200, "livez passed")

    async def _readyz(self) -> Answer:
        found = await self.conditions() if self.conditions else (failed("start", self._starting),)
        return Answer.text(200 if all_met(found) else 503, report(found))
