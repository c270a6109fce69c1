"""Two ipamd on one store that hear of it only what the test lets them hear, when it lets them; answers to writes may be lost.

Everything but the watch is the real thing. `romana.reconcile` does not run: background work is done when the test asks for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ipam.server
from ipam.server import Ipamd
from ipam.table import Table
from romana.errors import RomanaError
from romana.store.api import Batch
from romana.store.memory import MemoryStore
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock

__all__ = ["COOLDOWN_S", "Replica", "StaleWorld"]

Answer = TypeVar("Answer")

COOLDOWN_S = 5


class Replica:
    """An ipamd whose tables are told batch by batch."""

    def __init__(self, ipamd: Ipamd, store: MemoryStore) -> None:
        self.ipamd = ipamd
        self._store = store
        self._watches: dict[str, asyncio.Task[Batch]] = {}
        self._streams: dict[str, Any] = {}

    @property
    def tables(self) -> dict[str, Table[Any]]:
        state = self.ipamd.state
        tables: tuple[Table[Any], ...] = (state.topology, state.nodes, state.blocks, state.addresses, state.reservations)
        return dict(zip(state.prefixes, tables, strict=True))

    async def read(self) -> None:
        """The first snapshot of everything."""
        await self.ipamd.recovery.sync()
        for prefix, table in self.tables.items():
            listing = await self._store.list(prefix)
            table.replace(listing.items, listing.revision)
            self._streams[prefix] = self._store.watch(prefix, listing.revision + 1)
            self._watches[prefix] = asyncio.ensure_future(anext(self._streams[prefix]))

    async def hear(self, prefix: str) -> bool:
        """Hear of the next change below a prefix; False when there is none."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not self._watches[prefix].done():
            return False
        batch = self._watches[prefix].result()
        self.tables[prefix].follow(batch.events, batch.revision)
        self._watches[prefix] = asyncio.ensure_future(anext(self._streams[prefix]))
        return True

    async def catch_up(self) -> None:
        """Hear of everything."""
        for prefix in self.tables:
            while await self.hear(prefix):
                pass

    async def close(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        for stream in self._streams.values():
            await stream.aclose()


@dataclass
class StaleWorld:
    """See the module's docstring. Times are of one clock for both; `wall_ms` is the wall's, which may jump."""

    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    clock: Clock = field(default_factory=Clock)
    wall_ms: int = 1_700_000_000_000
    losses: list[str] = field(default_factory=list)
    """What becomes of the answers to the next writes; see LosingStore."""
    replicas: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.do(self._begin())

    def do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(work)

    async def _begin(self) -> None:
        for _ in range(2):
            self.replicas.append(await self.start())

    async def start(self) -> Replica:
        """A replica that has just read everything."""
        store = LosingStore(self.store, lambda _: self.losses.pop(0) if self.losses else "")
        before, ipam.server._now_ms = ipam.server._now_ms, lambda: self.wall_ms
        try:
            ipamd = Ipamd(store, COOLDOWN_S, self.clock, lag_s=lambda: 0.0)
        finally:
            ipam.server._now_ms = before
        replica = Replica(ipamd, self.store)
        await replica.read()
        return replica

    def _wall(self) -> int:
        self.wall_ms += 1
        return self.wall_ms

    async def restart(self, which: int) -> None:
        await self.replicas[which].close()
        self.replicas[which] = await self.start()

    async def attempt(self, call: Awaitable[Answer]) -> Answer | RomanaError:
        """The answer, or the error that we raise on purpose; any other is a bug and ends the test."""
        try:
            return await call
        except RomanaError as err:
            return err

    async def all_at_once(self, calls: Sequence[Callable[[], Awaitable[Answer]]]) -> list[Answer | RomanaError]:
        return await asyncio.gather(*(self.attempt(call()) for call in calls))

    def close(self) -> None:
        async def end() -> None:
            await asyncio.sleep(0.03)  # writes that come late
            for replica in self.replicas:
                await replica.close()
            await self.store.close()

        self.do(end())
        self.runner.close()
