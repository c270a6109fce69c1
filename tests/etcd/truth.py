"""Ground truth for fault tests: keys that are each created once whatever happens, and a watch that writes down what it saw."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing

from romana.errors import Ambiguous, Unavailable
from romana.store.api import Compare, Event, Put, Store
from romana.store.reflector import Reflector, Update

__all__ = ["DEADLINE_S", "LAST", "Updates", "create", "create_all", "eventually", "names", "watch_until_last"]

DEADLINE_S = 90.0  # generous: the machine may be busy
LAST = "w/last"


def names(first: int, count: int) -> list[str]:
    """Keys of a series."""
    return [f"w/{number:05}" for number in range(first, first + count)]


async def create(store: Store, key: str, value: bytes = b"") -> None:
    """Create a key once, through any outage: a lost answer is settled by the repeat, which compares."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await store.txn([Compare.absent(key)], [Put(key, value)])
            except (Unavailable, Ambiguous):
                await asyncio.sleep(0.05)
            else:
                return


async def create_all(store: Store, keys: Iterable[str], value: bytes = b"", at_once: int = 1) -> None:
    """Create many keys, each in a revision of its own, in order when `at_once` is 1."""
    queue = iter(keys)

    async def worker() -> None:
        for key in queue:
            await create(store, key, value)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())


async def watch_until_last(store: Store, revision: int, progress: Callable[[int], None] = lambda _: None) -> list[Event]:
    """All events below "w/" until the key `LAST` is written; `progress` is told how many there are after each batch."""
    seen: list[Event] = []
    async with aclosing(store.watch("w/", revision)) as watch, asyncio.timeout(DEADLINE_S):
        async for batch in watch:
            seen += batch.events
            progress(len(seen))
            if seen[-1].key == LAST:
                break
    return seen


class Updates:
    """Runs a reflector in the background and keeps what it said."""

    def __init__(self, store: Store, prefix: str = "w/") -> None:
        self.reflector = Reflector(store, prefix)
        self.seen: list[Update] = []

    async def __aenter__(self) -> "Updates":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        async with aclosing(self.reflector.updates()) as updates:
            async for update in updates:
                self.seen.append(update)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; raises TimeoutError after the generous deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 (any condition, also of another process)
            await asyncio.sleep(0.02)
