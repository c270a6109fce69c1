"""A trial under a fault: a writer that is the ground truth, a watcher on the member that suffers, and how late events came."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from types import TracebackType

import pytest

from romana.store.api import Event
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore
from romana.store.reflector import Reflector
from tests.etcd.cluster import EtcdCluster
from tests.etcd.truth import DEADLINE_S, LAST, create, names

__all__ = ["SEEDS", "Trial", "repeated"]

REPETITIONS = 20
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, REPETITIONS))]
SILENCE_MAX_S = 10.0
WATCH_LOG = logging.getLogger("romana.store.etcd_watch")

repeated = pytest.mark.parametrize("seed", SEEDS)
"""Runs a test once, and with --long twenty times, each with other timing: `random.Random(seed)`."""


class Trial:
    """Writes keys `w/...`, each created once, and watches them from the member `in_use` on. Use it as a context manager."""

    def __init__(
        self,
        cluster: EtcdCluster,
        seed: int,
        in_use: int | None = None,
        *,
        only: bool = False,
        lists: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        """`only`: the watcher knows no other member. `lists`: it is a reflector, which may lose history and list again."""
        self.cluster = cluster
        self.random = random.Random(seed)  # noqa: S311 - timing; no secret
        self.in_use = self.random.randrange(3) if in_use is None else in_use
        targets = cluster.targets_from(self.in_use)
        self.watcher = EtcdStore(targets[:1] if only else targets, credentials=credentials)
        self.writer = EtcdStore([*targets[1:], targets[0]], credentials=credentials)
        self.lists = lists
        self.snapshots = 0
        self.events: list[Event] = []
        self._seen_at: dict[str, float] = {}
        self._written_at: dict[str, float] = {}
        self._count = 0
        self._said = _Said()

    async def __aenter__(self) -> "Trial":
        self._level = WATCH_LOG.level
        WATCH_LOG.setLevel(logging.INFO)
        WATCH_LOG.addHandler(self._said)
        start = (await self.writer.list("w/")).revision + 1
        self._watching = asyncio.create_task(self._reflect() if self.lists else self._watch(start))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])
        await self.watcher.close()
        await self.writer.close()
        WATCH_LOG.removeHandler(self._said)
        WATCH_LOG.setLevel(self._level)

    def some(self, least: float, most: float) -> float:
        """A random number."""
        return self.random.uniform(least, most)

    async def pause(self, least_s: float, most_s: float) -> None:
        """Let a random time pass."""
        await asyncio.sleep(self.some(least_s, most_s))

    async def write(self, count: int, pause_s: float = 0.004, at_once: int = 1) -> None:
        """Create so many more keys, through whatever happens."""
        keys = iter(names(self._count, count))
        self._count += count

        async def worker() -> None:
            for key in keys:
                await self._create(key)
                await asyncio.sleep(pause_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    async def settled(self, record: Callable[[str, object], None]) -> None:
        """Every key was seen, once (and in the order of revisions, if by a watch), and none later than 10 s in silence."""
        await self._create(LAST)
        await self._watching
        keys = [event.key for event in self.events]
        assert sorted(keys) == [*names(0, self._count), LAST]
        revisions = [event.mod_revision for event in self.events]
        assert self.lists or revisions == sorted(revisions)
        record("longest_delay_s", round(self.longest_delay_s, 2))
        record("longest_silence_s", round(self.longest_silence_s, 2))
        assert self.longest_silence_s <= SILENCE_MAX_S, "late, and nothing was said"

    @property
    def longest_delay_s(self) -> float:
        """From a key's acknowledged write to its event; what was seen before the answer counts as 0."""
        return max(max(0.0, seen - written) for written, seen in self._waits())

    @property
    def longest_silence_s(self) -> float:
        """The same, but for the time in which the watch had said that it was interrupted."""
        return max(silence_s(written, seen, self._said.outages) for written, seen in self._waits())

    def _waits(self) -> Iterable[tuple[float, float]]:
        return ((written, self._seen_at[key]) for key, written in self._written_at.items())

    async def _create(self, key: str) -> None:
        await create(self.writer, key)
        self._written_at[key] = time.monotonic()

    async def _watch(self, start: int) -> None:
        async with aclosing(self.watcher.watch("w/", start)) as watch, asyncio.timeout(DEADLINE_S):
            async for batch in watch:
                self._take(batch.events)
                if batch.events[-1].key == LAST:
                    return

    async def _reflect(self) -> None:
        async with aclosing(Reflector(self.watcher, "w/").updates()) as updates, asyncio.timeout(DEADLINE_S):
            async for update in updates:
                self.snapshots += update.snapshot
                self._take(update.events)
                if LAST in self._seen_at:
                    return

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            self._seen_at.setdefault(event.key, time.monotonic())


def silence_s(written: float, seen: float, outages: Iterable[tuple[float, float]]) -> float:
    """How long a wait was, without what of it lies in outages that were told."""
    told = sum(max(0.0, min(seen, end) - max(written, start)) for start, end in outages)
    return max(0.0, seen - written - told)


class _Said(logging.Handler):
    """When a watch said that it was interrupted, and when that it was resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.outages: list[tuple[float, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Each outage once: further failures in one are said too."""
        now = time.monotonic()
        if "resumed" in record.getMessage():
            self.outages[-1] = (self.outages[-1][0], now)
        elif not self.outages or self.outages[-1][1] < math.inf:
            self.outages.append((now, math.inf))
