"""`romana bench ipam`: durable allocations per second, beside the two limits that no ipamd can pass and one that it should.

put                  etcd's own rate of single puts                                 straight to etcd
single transactions  what an allocation writes, one transaction each                straight to etcd
trivial calls        a call that asks nothing of etcd (Lookup of a foreign address): what Python's gRPC server can do
unary, batch         Allocate, AllocateBatch of 32;  by ipamd, answered after the commit
"""

import asyncio
import itertools
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from romana import keys
from romana.bench import machine
from romana.bench.ipam_rig import Ipamd, attachment, etcd
from romana.bench.report import Report, Series
from romana.errors import FatalError
from romana.store.api import Compare, Put
from romana.store.etcd import EtcdStore
from romana.v1 import ipam_pb2, node_pb2
from romana.v1.store_pb2 import Block

__all__ = ["Settings", "measure"]

CALLERS = (1, 16, 64, 256)
BATCH = 32
NODES = 64
VALUE = b"v" * 120  # about what an address, an attachment and an endpoint have on average


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    seconds: float = 3.0
    """For each cell."""
    members: tuple[int, ...] = (1, 3)
    addresses: int = 150_000
    """Live ones, for cost, memory and restart at size; 0 leaves that out."""
    nodes: int = 5_000
    """For the same."""


@dataclass(frozen=True, slots=True)
class _Load:
    """What a closed loop of callers did."""

    rate: float
    latencies_ms: tuple[float, ...]
    per_cpu_s: float = 0.0


async def measure(settings: Settings, say: Callable[[str], None]) -> Report:
    """Everything, on etcds and ipamds of its own that are removed at the end. Raises FatalError when one does not start."""
    if (task := asyncio.current_task()) is not None:  # so that what was started is removed then, too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began, where = machine.now(), machine.describe()
    series: list[Series] = []
    for members in settings.members:
        say(f"etcd of {members}: {settings.seconds:g} s for each of {4 * len(CALLERS)} cells")
        series += await _cluster(members, settings.seconds)
    if settings.addresses:
        say(f"filling {settings.addresses} addresses on {settings.nodes} nodes")
        series += await _at_size(settings, say)
    notes = (
        "callers, ipamd and etcd share this machine's processors: at 64 and 256 callers they compete for them",
        f"a batch is {BATCH} allocations; its latency is that of the whole batch",
        "per CPU second: by the processor time of ipamd alone",
    )
    told = {"seconds": settings.seconds, "members": list(settings.members), "addresses": settings.addresses}
    return Report("ipam", began, where, tuple(series), told | {"nodes": settings.nodes}, notes)


async def _cluster(members: int, seconds: float) -> list[Series]:
    series: list[Series] = []
    async with etcd(members) as (folder, targets, store):
        ipamd = Ipamd(folder, targets)
        try:
            await ipamd.start()
            await ipamd.lay_out(NODES)
            for callers in CALLERS:
                where = f"etcd of {members}, {callers} callers"
                cells = {
                    "put": await _loop(callers, seconds, _puts(store)),
                    "single transactions": await _loop(callers, seconds, _singles(store)),
                    "trivial calls": await _loop(callers, seconds, _trivial(ipamd), ipamd),
                    "unary": await _loop(callers, seconds, _unary(ipamd), ipamd),
                    "batch": await _loop(callers, seconds, _batch(ipamd), ipamd),
                }
                series += _as_series(where, cells)
            series += await _hundred(ipamd, members, seconds)
            series.append(await _block_events(ipamd, store, members))
        finally:
            await ipamd.channel.close()
            ipamd.kill()
    return series


def _as_series(where: str, cells: dict[str, _Load]) -> list[Series]:
    series = []
    for name, load in cells.items():
        ours = name in {"unary", "batch"}
        peer = f"single transactions, {where}" if ours else ""
        series.append(Series(f"{name}, {where}", "1/s", (load.rate,), peer))
        series.append(Series(f"{name} latency, {where}", "ms", load.latencies_ms))
        if load.per_cpu_s:
            limit = f"trivial calls per CPU second, {where}" if ours else ""
            series.append(Series(f"{name} per CPU second, {where}", "1/s", (load.per_cpu_s,), limit))
    return series


async def _hundred(ipamd: Ipamd, members: int, seconds: float) -> list[Series]:
    """A hundred callers: each once, all at one moment; and in a closed loop."""
    once = _unary(ipamd)
    burst: list[float] = []
    for _ in range(10):
        burst += await asyncio.gather(*(_timed(once) for _ in range(100)))
    closed = await _loop(100, seconds, _unary(ipamd), ipamd)
    return [
        Series(f"burst of 100, each once, latency, etcd of {members}", "ms", tuple(burst)),
        Series(f"100 in a closed loop, latency, etcd of {members}", "ms", closed.latencies_ms),
    ]


async def _block_events(ipamd: Ipamd, store: EtcdStore, members: int) -> Series:
    """What a watcher of blocks hears while ten pods start in a block that their node has: a new node has one and room in it."""
    node = NODES + 1
    await ipamd.topology.AddNode(_node_request(node), timeout=30.0)
    for _ in range(300):
        if await _has_block(store, node):
            break
        await asyncio.sleep(0.1)
    revision = (await store.list(keys.BLOCKS)).revision
    heard = 0

    async def listen() -> None:
        nonlocal heard
        async with aclosing(store.watch(keys.BLOCKS, revision + 1)) as batches:
            async for batch in batches:
                heard += len(batch.events)

    listening = asyncio.create_task(listen())
    for number in range(10):
        request = ipam_pb2.AllocateRequest(attachment=attachment(node, f"quiet-{number}"))
        await ipamd.ipam.Allocate(request, timeout=30.0)
    await asyncio.sleep(1.0)
    listening.cancel()
    return Series(f"block events heard while 10 pods start, etcd of {members}", "count", (float(heard),))


def _node_request(number: int) -> node_pb2.AddNodeRequest:
    return node_pb2.AddNodeRequest(
        name=f"n{number}", addresses=[f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"]
    )


async def _has_block(store: EtcdStore, node: int) -> bool:
    return any(Block.FromString(item.value).node == f"n{node}" for item in (await store.list(keys.BLOCKS)).items)


async def _at_size(settings: Settings, say: Callable[[str], None]) -> list[Series]:
    async with etcd(1) as (folder, targets, _):
        ipamd = Ipamd(folder, targets)
        try:
            await ipamd.start()
            await ipamd.lay_out(3)
            empty = await _loop(16, settings.seconds, _unary(ipamd, 3), ipamd)
            await _add_nodes(ipamd, settings.nodes)
            many = await _loop(16, settings.seconds, _unary(ipamd, settings.nodes), ipamd)
            await _fill(ipamd, settings)
            full = await _loop(16, settings.seconds, _unary(ipamd, settings.nodes), ipamd)
            rss = ipamd.rss_mib
            say("restarting ipamd")
            ipamd.kill()
            ready_s = await ipamd.start()
            after = ipamd.rss_mib
        finally:
            await ipamd.channel.close()
            ipamd.kill()
    size = f"{settings.addresses} addresses, {settings.nodes} nodes"
    first = "unary per CPU second, no addresses, 3 nodes"
    return [
        Series(first, "1/s", (empty.per_cpu_s,)),
        Series(f"unary per CPU second, few addresses, {settings.nodes} nodes", "1/s", (many.per_cpu_s,), first),
        Series(f"unary per CPU second, {size}", "1/s", (full.per_cpu_s,), first),
        Series(f"memory of ipamd, {size}", "MiB", (rss,)),
        Series(f"memory of ipamd after a restart, {size}", "MiB", (after,)),
        Series(f"ready after kill -9, {size}", "s", (ready_s,)),
    ]


async def _fill(ipamd: Ipamd, settings: Settings) -> None:
    batch = _batch(ipamd, settings.nodes)
    rounds = itertools.repeat(None, settings.addresses // BATCH)

    async def one() -> None:
        for _ in rounds:
            await batch()

    await asyncio.gather(*(one() for _ in range(4)))


async def _add_nodes(ipamd: Ipamd, nodes: int) -> None:
    for start in range(3, nodes, 16):
        numbers = range(start, min(start + 16, nodes))
        await asyncio.gather(*(ipamd.topology.AddNode(_node_request(number), timeout=60.0) for number in numbers))


async def _loop(callers: int, seconds: float, call: Callable[[], Awaitable[int]], ipamd: Ipamd | None = None) -> _Load:
    """So many callers, each with one call under way at a time; `call` says how many it was."""
    await call()
    latencies: list[float] = []
    done = 0
    used = ipamd.cpu_s if ipamd else 0.0
    began = time.monotonic()

    async def one() -> None:
        nonlocal done
        while (started := time.monotonic()) < began + seconds:
            count = await call()
            done += count
            latencies.append((time.monotonic() - started) * 1000)

    await asyncio.gather(*(one() for _ in range(callers)))
    took = time.monotonic() - began
    cpu_s = ipamd.cpu_s - used if ipamd else 0.0
    return _Load(done / took, tuple(latencies), done / cpu_s if cpu_s else 0.0)


async def _timed(call: Callable[[], Awaitable[int]]) -> float:
    began = time.monotonic()
    await call()
    return (time.monotonic() - began) * 1000


_numbers = itertools.count()


def _puts(store: EtcdStore) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        await store.txn([], [Put(f"bench/{next(_numbers)}", VALUE)])
        return 1

    return call


def _singles(store: EtcdStore) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        names = [f"bench/{kind}/{next(_numbers)}" for kind in ("address", "attachment", "endpoint")]
        result = await store.txn([Compare.absent(name) for name in names], [Put(name, VALUE) for name in names])
        if not result.succeeded:
            raise FatalError("a key of the benchmark was there already")
        return 1

    return call


def _trivial(ipamd: Ipamd) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        await ipamd.ipam.Lookup(ipam_pb2.LookupRequest(ip="192.0.2.1"))
        return 1

    return call


def _unary(ipamd: Ipamd, nodes: int = NODES) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        number = next(_numbers)
        await ipamd.ipam.Allocate(ipam_pb2.AllocateRequest(attachment=attachment(number % nodes, f"c{number}")))
        return 1

    return call


def _batch(ipamd: Ipamd, nodes: int = NODES) -> Callable[[], Awaitable[int]]:
    async def call() -> int:
        numbers = [next(_numbers) for _ in range(BATCH)]
        wanted = [ipam_pb2.AllocateRequest(attachment=attachment(number % nodes, f"c{number}")) for number in numbers]
        answer = await ipamd.ipam.AllocateBatch(ipam_pb2.AllocateBatchRequest(requests=wanted))
        failed = [outcome.error.message for outcome in answer.outcomes if outcome.HasField("error")]
        if failed:
            raise FatalError(f"{len(failed)} of a batch failed: {failed[0]}")
        return BATCH

    return call
