"""`romana bench store`: puts, compare-and-swap, a long listing and the delivery of a watch, beside etcd's own limit.

One throw-away etcd serves both sides in turns: `romana.store` as daemons use it, and bare stubs (`romana.bench.etcd_limit`).
All callers run in this one process, so that both sides pay for the same Python.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from romana.bench import machine
from romana.bench.etcd_limit import Limit
from romana.bench.etcd_server import Etcd, throw_away
from romana.bench.report import Report, Series
from romana.store.api import Compare, Put, Store
from romana.store.etcd import DEFAULT_PREFIX
from romana.store.opening import open_store

__all__ = ["Sizes", "measure"]

VALUE = b"x" * 100  # about what an attachment or an address takes
TURNS = 3
PAGE = 500
RAW = b"/limit/"
PUTS_A_TXN = 100
TIMEOUT_S = 60.0
LOAD = "l"  # 500 clients, at most 8,000 writes a second (etcdctl v3.4, ctlv3/command/check.go)

Say = Callable[[str], None]
Write = Callable[[str, bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    callers: tuple[int, ...] = (1, 16, 64, 256)
    writes: int = 3000
    """Of each kind in each turn of each side; of a single caller a fifth."""
    keys: int = 150_000
    """In the listing and, for the catching up, in the watch."""
    events: int = 500
    """Whose way from the put to the watcher is timed."""
    etcdctl: bool = False
    """Also ask etcd's own program for its limit, a minute."""


async def measure(sizes: Sizes, say: Say) -> Report:
    """Run everything; raises what an etcd that does not start raises."""
    began, where = machine.now(), machine.describe()
    with throw_away() as etcd:
        store = await open_store([etcd.target], write_schema=True, timeout_s=TIMEOUT_S)
        try:
            version = (await store.status()).version
            async with Limit(etcd.target) as limit:
                bench = _Bench(etcd, store, limit, sizes, say)
                series = await bench.series()
        finally:
            await store.close()
    settings = {"etcd": version, "callers": list(sizes.callers), "writes": sizes.writes, "keys": sizes.keys, "turns": TURNS}
    note = "the limit is bare gRPC stubs of etcd in the same process, in turns with the store; etcd writes to /var/tmp"
    return Report("store", began, where, tuple(series), settings, (note, *bench.notes))


class _Bench:
    def __init__(self, etcd: Etcd, store: Store, limit: Limit, sizes: Sizes, say: Say) -> None:
        self._etcd, self._store, self._limit, self._sizes, self._say = etcd, store, limit, sizes, say
        self._numbers = itertools.count()
        self.notes: list[str] = []

    async def series(self) -> list[Series]:
        found: list[Series] = []
        for callers in self._sizes.callers:
            self._say(f"writing with {callers} callers")
            found += await self._writes("put", callers, self._put, self._limit_put)
            found += await self._writes("compare-and-swap", callers, self._create, self._limit_create)
        self._say(f"listing {self._sizes.keys} keys")
        first = await self._fill()
        found += await self._lists()
        self._say("watching")
        found += [*await self._catching_up(first), *await self._delivery()]
        return [*found, *await self._etcdctl()] if self._sizes.etcdctl else found

    async def _etcdctl(self) -> list[Series]:
        """Puts of 500 clients of etcd's own program, a Go process of its own: what etcd takes when Python is not in the way."""
        self._say("etcdctl check perf --load=l, a minute")
        said = await asyncio.to_thread(self._etcd.ctl, "check", "perf", f"--load={LOAD}")
        found = re.search(r"(\d+) writes/s", said)
        if not found:  # on a loaded machine it gives up: that is no reason to lose what was measured before
            self.notes.append(f"etcdctl check perf gave no rate: {said.strip()[-120:]}")
            return []
        return [Series(f"etcdctl check perf --load={LOAD}, 500 clients in Go: rate", "1/s", (float(found[1]),))]

    async def _writes(self, what: str, callers: int, ours: Write, bare: Write) -> list[Series]:
        count = self._sizes.writes if callers > 1 else max(1, self._sizes.writes // 5)
        rates: dict[str, list[float]] = {"ours": [], "limit": []}
        times: dict[str, list[float]] = {"ours": [], "limit": []}
        for _ in range(TURNS):
            for side, write in (("limit", bare), ("ours", ours)):
                rate, waits = await self._turn(write, callers, count)
                rates[side].append(rate)
                times[side] += waits
        name = f"{what}, {callers} caller{'s' if callers > 1 else ''}"
        return [
            *_beside(f"{name}: rate", "1/s", rates["ours"], rates["limit"]),
            *_beside(f"{name}: time", "ms", times["ours"], times["limit"]),
        ]

    async def _turn(self, write: Write, callers: int, count: int) -> tuple[float, list[float]]:
        """Writes a second, and each one's milliseconds."""
        waits: list[float] = []
        left = iter(range(count))

        async def caller() -> None:
            for _ in left:
                began = time.perf_counter()
                await write(f"bench/{next(self._numbers):09}", VALUE)
                waits.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return count / (time.perf_counter() - began), waits

    async def _put(self, key: str, value: bytes) -> None:
        await self._store.txn([], [Put(key, value)])

    async def _create(self, key: str, value: bytes) -> None:
        await self._store.txn([Compare.absent(key)], [Put(key, value)])

    async def _limit_put(self, key: str, value: bytes) -> None:
        await self._limit.put(RAW + key.encode(), value)

    async def _limit_create(self, key: str, value: bytes) -> None:
        await self._limit.create(RAW + key.encode(), value)

    async def _fill(self) -> int:
        """Write the keys of the listing; the first revision of them."""
        first = 0
        for start in range(0, self._sizes.keys, PUTS_A_TXN):
            numbers = range(start, min(start + PUTS_A_TXN, self._sizes.keys))
            done = await self._store.txn([], [Put(f"list/{number:09}", VALUE) for number in numbers])
            first = first or done.revision
        return first

    async def _lists(self) -> list[Series]:
        start = f"{DEFAULT_PREFIX}list/".encode()
        ours, bare = [], []
        for _ in range(TURNS):
            began = time.perf_counter()
            await self._limit.range_all(start, start[:-1] + b"0", PAGE)
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            await self._store.list("list/", PAGE)
            ours.append(time.perf_counter() - began)
        return _beside(f"list of {self._sizes.keys} keys in pages of {PAGE}", "s", ours, bare)

    async def _catching_up(self, first: int) -> list[Series]:
        """Events a second of a watch that starts before all keys of the listing were written."""
        start = f"{DEFAULT_PREFIX}list/".encode()
        ours, bare = [], []
        for _ in range(TURNS):
            bare.append(await _rate(self._sizes.keys, self._limit.watch(start, start[:-1] + b"0", first)))
            ours.append(await _rate(self._sizes.keys, _keys(self._store, "list/", first)))
        return _beside("watch, catching up: events", "1/s", ours, bare)

    async def _delivery(self) -> list[Series]:
        """Milliseconds from the put, by the bare stubs, to the watcher; both watch the same keys at once."""
        revision = (await self._store.list("watch/")).revision
        start = f"{DEFAULT_PREFIX}watch/".encode()
        sent: dict[str, float] = {}
        ours: dict[str, float] = {}
        bare: dict[str, float] = {}
        watchers = [
            asyncio.create_task(_heard(_keys(self._store, "watch/", revision + 1), ours, self._sizes.events)),
            asyncio.create_task(_heard(self._limit.watch(start, start[:-1] + b"0", revision + 1), bare, self._sizes.events)),
        ]
        await asyncio.sleep(0.5)  # both stand
        for number in range(self._sizes.events):
            key = f"{number:06}"
            sent[key] = time.perf_counter()
            await self._limit.put(start + key.encode(), VALUE)
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*watchers)
        waits = [[(heard[key] - at) * 1000 for key, at in sent.items()] for heard in (ours, bare)]
        return _beside("watch: from the put to the watcher", "ms", *waits)


def _beside(name: str, unit: str, ours: list[float], bare: list[float]) -> list[Series]:
    limit = f"{name}, bare etcd"
    return [Series(name, unit, tuple(ours), limit), Series(limit, unit, tuple(bare))]


async def _keys(store: Store, prefix: str, revision: int) -> AsyncIterator[list[bytes]]:
    async with aclosing(store.watch(prefix, revision)) as batches:
        async for batch in batches:
            yield [event.key.encode() for event in batch.events]


async def _rate(count: int, stream: AsyncIterator[list[bytes]]) -> float:
    began, seen = time.perf_counter(), 0
    async with aclosing(cast("AsyncGenerator[list[bytes], None]", stream)) as lists:
        async for keys in lists:
            seen += len(keys)
            if seen >= count:
                break
    return count / (time.perf_counter() - began)


async def _heard(stream: AsyncIterator[list[bytes]], at: dict[str, float], count: int) -> None:
    async with aclosing(cast("AsyncGenerator[list[bytes], None]", stream)) as lists:
        async for keys in lists:
            now = time.perf_counter()
            at.update((key.decode().rpartition("/")[2], now) for key in keys)
            if len(at) >= count:
                return
