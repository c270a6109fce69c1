"""Runs a daemon's sync whenever something changed, and only after every source has told its whole state once.

    source ──┐                        ┌── fails: wait (backoff, or the next event), try again
    source ──┼─→ "something changed" ─→ sync() ─→ rest ─→ wait for an event or for the periodic resync
    source ──┘

An event carries no work: it only wakes the loop, and events that come during a sync or the rest after it are one. A sync reads
everything anew (state, kernel), so it is right after a restart, after a missed event, and twice in a row.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from romana.errors import ConfigError, FatalError, RomanaError

__all__ = ["Pace", "Source", "Sync", "once", "run"]

log = logging.getLogger(__name__)

Sync = Callable[[], Awaitable[Mapping[str, object] | None]]
"""One pass: compute, observe, plan, apply. Returns what the log says about it, or None when there is nothing to say."""

_FINAL = (ConfigError, FatalError)  # trying again in this process cannot help (romana.errors)


@dataclass(frozen=True, slots=True)
class Source:
    """Where changes come from.

    `watch` opens an iterator that puts what it hears into the state and yields once the state is whole, then after every change.
    It never ends by itself; when it raises a RomanaError it is opened again, and the state stands as it was meanwhile.
    """

    name: str
    watch: Callable[[], AsyncIterator[object]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to act. All in seconds."""

    resync_s: float = 60.0
    """Sync at least this often."""
    rest_s: float = 0.1
    """After a sync, at least this and at least as long as it took: a storm of events costs half of the time at most."""
    backoff_s: float = 0.5
    """Before the first retry; doubled with each failure in a row."""
    backoff_cap_s: float = 30.0
    jitter: Callable[[], float] = random.random
    """0 to 1; a retry waits for half to the whole of its backoff, so that the nodes of a cluster do not retry in step."""

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        longest = min(self.backoff_cap_s, self.backoff_s * 2.0 ** min(failures - 1, 16))
        return longest * (0.5 + self.jitter() / 2)


async def run(name: str, sources: Sequence[Source], sync: Sync, pace: Pace | None = None) -> None:
    """Keep syncing until cancelled; returns never. Raises FatalError, ConfigError, and what is no RomanaError (a bug)."""
    pace = pace or Pace()
    changed = asyncio.Event()
    await _with_sources(sources, changed, pace, lambda: _sync_for_ever(name, sync, changed, pace))


async def once(sources: Sequence[Source], sync: Sync, pace: Pace | None = None) -> Mapping[str, object] | None:
    """Sync one time, after the first full snapshot of every source; a sync that fails raises."""
    found: list[Mapping[str, object] | None] = []

    async def only() -> None:
        found.append(await sync())

    await _with_sources(sources, asyncio.Event(), pace or Pace(), only)
    return found[0]


async def _with_sources(
    sources: Sequence[Source], changed: asyncio.Event, pace: Pace, act: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Follow the sources; once all are whole, run `act`. The first to fail ends all, and its own error is what is raised."""
    whole = [asyncio.Event() for _ in sources]

    async def acting() -> None:
        for event in whole:
            await event.wait()
        await act()

    following = [_follow(source, event, changed, pace) for source, event in zip(sources, whole, strict=True)]
    tasks = [asyncio.create_task(each) for each in (acting(), *following)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(source: Source, whole: asyncio.Event, changed: asyncio.Event, pace: Pace) -> None:
    failures = 0
    while True:
        try:
            async for _ in source.watch():
                failures = 0
                whole.set()
                changed.set()
            raise FatalError(f"source {source.name} ended by itself")
        except _FINAL:
            raise
        except RomanaError as err:
            failures += 1
            log.warning("watch failed, will retry", extra={"source": source.name, "error": str(err), "attempt": failures})
            await asyncio.sleep(pace.delay_s(failures))


async def _sync_for_ever(name: str, sync: Sync, changed: asyncio.Event, pace: Pace) -> None:
    clock = asyncio.get_running_loop().time
    failures = 0
    while True:
        changed.clear()
        began = clock()
        failures = 0 if await _attempt(name, sync, failures + 1) else failures + 1
        await asyncio.sleep(max(pace.rest_s, clock() - began, pace.backoff_s if failures else 0))
        await _wait(changed, pace.delay_s(failures) if failures else pace.resync_s)


async def _attempt(name: str, sync: Sync, attempt: int) -> bool:
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        fields = await sync()
    except _FINAL:
        raise
    except RomanaError as err:
        log.warning(f"{name} not synced, will retry", extra={"error": str(err), "attempt": attempt})
        return False
    if fields is not None:
        log.info(f"{name} synced", extra={**fields, "took_ms": round((clock() - began) * 1000, 1)})
    return True


async def _wait(changed: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await changed.wait()
