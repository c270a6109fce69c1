"""The loop: when it acts, how it coalesces, how it retries, how it ends. Times are small; only orders and counts are asserted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from romana.errors import FatalError, RomanaError, Unavailable
from romana.reconcile import Pace, Source, Sync, once, run
from tests.fakes.waiting import until

QUICK = Pace(resync_s=60, rest_s=0, backoff_s=0.001, backoff_cap_s=0.01)


class Bell:
    """A source that yields when it is rung, and fails when it is told to."""

    def __init__(self) -> None:
        self._rings: asyncio.Queue[RomanaError | None] = asyncio.Queue()
        self.opened = 0

    def ring(self, error: RomanaError | None = None) -> None:
        self._rings.put_nowait(error)

    async def watch(self) -> AsyncIterator[None]:
        self.opened += 1
        while True:
            error = await self._rings.get()
            if error is not None:
                raise error
            yield

    @property
    def source(self) -> Source:
        return Source("bell", self.watch)


class Syncs:
    """A sync that counts, and raises what it is given, one error a pass."""

    def __init__(self, *errors: Exception) -> None:
        self.count = 0
        self.errors = list(errors)

    async def __call__(self) -> Mapping[str, object]:
        self.count += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return {"count": self.count}


@asynccontextmanager
async def running(bells: list[Bell], sync: Sync, pace: Pace = QUICK) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run("things", [bell.source for bell in bells], sync, pace))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def a_while() -> None:
    await asyncio.sleep(0.05)


async def test_nothing_happens_before_every_source_is_whole() -> None:
    first, second, syncs = Bell(), Bell(), Syncs()
    async with running([first, second], syncs):
        for _ in range(3):
            first.ring()
        await a_while()
        assert syncs.count == 0
        second.ring()
        await until(lambda: syncs.count == 1)


async def test_event_causes_a_sync_and_silence_none() -> None:
    bell, syncs = Bell(), Syncs()
    async with running([bell], syncs):
        bell.ring()
        await until(lambda: syncs.count == 1)
        await a_while()
        assert syncs.count == 1
        bell.ring()
        await until(lambda: syncs.count == 2)


async def test_events_during_a_sync_and_the_rest_after_it_are_one() -> None:
    bell, syncs = Bell(), Syncs()
    async with running([bell], syncs, Pace(rest_s=0.03)):
        bell.ring()
        await until(lambda: syncs.count == 1)
        for _ in range(100):
            bell.ring()
        await until(lambda: syncs.count == 2)
        await asyncio.sleep(0.1)
        assert syncs.count == 2


async def test_rest_is_as_long_as_the_sync_took() -> None:
    bell = Bell()
    times: list[float] = []

    async def slow() -> None:
        times.append(asyncio.get_running_loop().time())
        bell.ring()
        await asyncio.sleep(0.05)

    async with running([bell], slow):
        bell.ring()
        await until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.1


async def test_failed_sync_is_tried_again_without_an_event() -> None:
    bell, syncs = Bell(), Syncs(Unavailable("away"), Unavailable("away"))
    async with running([bell], syncs):
        bell.ring()
        await until(lambda: syncs.count == 3)
        await a_while()
        assert syncs.count == 3


async def test_event_ends_the_wait_for_a_retry() -> None:
    bell, syncs = Bell(), Syncs(*[Unavailable("away")] * 20)
    pace = Pace(rest_s=0, backoff_s=0.001, backoff_cap_s=60, jitter=lambda: 1.0)
    async with running([bell], syncs, pace):
        bell.ring()
        await until(lambda: syncs.count >= 7)
        reached = syncs.count
        bell.ring()
        await until(lambda: syncs.count > reached)


async def test_periodic_resync_needs_no_event() -> None:
    bell, syncs = Bell(), Syncs()
    async with running([bell], syncs, Pace(resync_s=0.01, rest_s=0)):
        bell.ring()
        await until(lambda: syncs.count >= 3)


async def test_failed_source_is_opened_again() -> None:
    bell, syncs = Bell(), Syncs()
    async with running([bell], syncs):
        bell.ring(Unavailable("away"))
        bell.ring()
        await until(lambda: syncs.count == 1)
        assert bell.opened == 2


@pytest.mark.parametrize("error", [FatalError("no use"), ZeroDivisionError("a bug")])
async def test_fatal_error_or_bug_in_a_sync_ends_the_loop(error: Exception) -> None:
    bell = Bell()
    bell.ring()
    with pytest.raises(type(error)):
        await run("things", [bell.source], Syncs(error), QUICK)


async def test_source_that_ends_is_fatal() -> None:
    async def short() -> AsyncIterator[None]:
        yield

    with pytest.raises(FatalError, match="short"):
        await run("things", [Source("short", short)], Syncs(), QUICK)


async def test_cancelling_ends_sync_and_sources() -> None:
    ended: list[str] = []

    def noting(name: str) -> Callable[[], AsyncIterator[None]]:
        async def watch() -> AsyncIterator[None]:
            try:
                yield
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        return watch

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("sync")

    task = asyncio.create_task(run("things", [Source(name, noting(name)) for name in ("a", "b")], endless, QUICK))
    await a_while()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b", "sync"]


async def test_once_waits_for_every_source_and_raises_what_failed() -> None:
    bell = Bell()
    bell.ring()
    assert await once([bell.source], Syncs()) == {"count": 1}
    bell.ring()
    with pytest.raises(Unavailable):
        await once([bell.source], Syncs(Unavailable("away")))


async def test_one_line_for_each_finished_sync_and_a_warning_for_a_failed_one(caplog: pytest.LogCaptureFixture) -> None:
    bell, syncs = Bell(), Syncs(Unavailable("away"))
    with caplog.at_level(logging.INFO):
        async with running([bell], syncs):
            bell.ring()
            await until(lambda: syncs.count == 2)
            await a_while()
    said = [(record.levelname, record.getMessage()) for record in caplog.records if record.name.startswith("romana.reconcile")]
    assert said == [("WARNING", "things not synced, will retry"), ("INFO", "things synced")]


def test_backoff_doubles_up_to_its_cap_and_jitter_halves_it_at_most() -> None:
    longest = Pace(backoff_s=1, backoff_cap_s=10, jitter=lambda: 1.0)
    shortest = Pace(backoff_s=1, backoff_cap_s=10, jitter=lambda: 0.0)
    assert [longest.delay_s(failures) for failures in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 10, 10]
    assert [shortest.delay_s(failures) for failures in (1, 2, 1000)] == [0.5, 1, 5]
