"""Every transaction that we make, with its answer lost at a random point, happens exactly once: real etcd, real cuts.

The makers are all users of `Store.txn` that write. Each is run while connections are cut again and again; then what the store
has, read past the proxy, must be what one undisturbed run leaves.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from ipam import codec_history
from ipam.history import HistoryRecord
from ipam.invariants import faults
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Unavailable
from romana.objects.applying import apply_objects, delete_object
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY
from romana.objects.manifest import Identity
from romana.objects.models import NamespaceObject, Object, PodObject, PolicyObject
from romana.reconcile import Pace, ReceiptWriter
from romana.reconcile.receipt import Report
from romana.store import schema
from romana.store.api import Delete, Put, Store
from romana.store.etcd import EtcdStore
from romana.store.schema import Layout, Step
from romana.store.upgrading import agree
from romana.v1.store_pb2 import JournalRecord, Receipt
from tests.etcd.proxy import CuttingProxy
from tests.etcd.server import EtcdServer
from tests.fakes.live_node import LiveNode, told
from tests.ipamd import Running, flat, running, until

pytestmark = pytest.mark.etcd

WAIT_S = 100.0
CUTS = 4  # among the first 16 pieces, beside one of the first two

Answer = TypeVar("Answer")


@dataclass
class World:
    """`store` is past the proxy and never disturbed; `cut` is through it."""

    store: Store
    cut: Store
    proxy: CuttingProxy
    rng: random.Random

    @asynccontextmanager
    async def disturbed(self) -> AsyncIterator[None]:
        """Pieces that carry a key of ours are cut at random, each in one of the three ways."""
        chosen = {self.rng.randrange(2), *self.rng.sample(range(1, 16), CUTS)}
        count = -1

        def decide(piece: bytes) -> str:
            nonlocal count
            count += b"/romana/v1/" in piece
            if count not in chosen:
                return ""
            chosen.remove(count)
            return self.rng.choice(["before", "after", "after", "late"])

        self.proxy.decide = decide
        try:
            async with asyncio.timeout(WAIT_S):
                yield
        finally:
            self.proxy.decide = None


async def again(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """As whoever uses it does: what may succeed later is tried again."""
    while True:
        try:
            return await call()
        except (Unavailable, Ambiguous, Conflict):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def ipamd(world: World, *, nodes: int = 2, mask: int = 30) -> AsyncIterator[Running]:
    """An ipamd that works through the proxy, with a topology and nodes."""
    async with running(world.cut, cooldown_s=0) as run:
        await run.apply(flat("10.40.0.0/24", mask))
        for number in range(nodes):
            await run.add_node(f"n{number}")
        yield run


async def allocations_and_claims(world: World) -> None:
    async with ipamd(world) as run:
        node = LiveNode("n0")
        async with world.disturbed():
            await asyncio.gather(*(again(lambda name=f"c{i}": node.add(run, name)) for i in range(12)))  # type: ignore[misc]
        assert len((await world.store.list(keys.ATTACHMENTS)).items) == 12
        assert len((await world.store.list(keys.ADDRESSES)).items) == 12
        assert await faults(world.store, told(node)) == []


async def releases(world: World) -> None:
    async with ipamd(world) as run:
        node = LiveNode("n0")
        for i in range(8):
            await node.add(run, f"c{i}")
        async with world.disturbed():
            await asyncio.gather(*(again(lambda name=f"c{i}": run.release("n0", name)) for i in range(8)))  # type: ignore[misc]
        records = [JournalRecord.FromString(item.value) for item in (await world.store.list(keys.JOURNAL)).items]
        assert sorted(record.attachment.container_id for record in records) == [f"c{i}" for i in range(8)]
        assert (await world.store.list(keys.ATTACHMENTS)).items == (await world.store.list(keys.ENDPOINTS)).items == ()
        assert await faults(world.store) == []


async def nodes_and_topologies(world: World) -> None:
    async with running(world.cut, cooldown_s=0) as run:
        async with world.disturbed():
            first = await again(lambda: run.apply(flat("10.40.0.0/24", 30)))
            for number in range(4):
                await again(lambda name=f"n{number}": run.add_node(name))  # type: ignore[misc]
            second = await again(lambda: run.apply(flat("10.40.0.0/24", 29)))  # gives the blocks back that were claimed ahead
        assert (first.generation, second.generation) == (1, 2)
        assert len((await world.store.list(keys.NODES)).items) == 4
        assert await faults(world.store) == []


async def addresses_forgotten(world: World) -> None:
    """More cooled addresses than fit into the change of the topology that gives their block back; one pod keeps the network."""
    document = flat("10.40.0.0/16", 24)
    document["topologies"][0]["map"] = [{"name": "a", "assignment": {"r": "a"}}, {"name": "b", "assignment": {"r": "b"}}]
    async with running(world.cut, cooldown_s=0) as run:
        await run.apply(document)
        await run.add_node("n0", labels={"r": "b"})
        await run.add_node("n1", labels={"r": "a"})
        node, kept = LiveNode("n0"), LiveNode("n1")
        await kept.add(run, "stays")
        await asyncio.gather(*(node.add(run, f"c{i}") for i in range(150)))
        await asyncio.gather(*(node.delete(run, f"c{i}") for i in range(150)))
        document["topologies"][0]["map"].insert(1, {"name": "new", "assignment": {"r": "x"}})
        document["topologies"][0]["map"].insert(1, {"name": "newer", "assignment": {"r": "y"}})
        async with world.disturbed():
            await again(lambda: run.apply(document))
        assert await faults(world.store, told(kept)) == []
        assert [item.key for item in (await world.store.list(keys.ADDRESSES)).items] == ["addresses/pods/10.40.0.0"]
        assert len((await world.store.list(keys.JOURNAL)).items) == 150


async def nodes_placed(world: World) -> None:
    """More nodes than fit into the transaction that applies the topology."""
    async with running(world.cut, cooldown_s=0) as run:
        await asyncio.gather(*(run.add_node(f"n{number}") for number in range(130)))
        async with world.disturbed():
            await again(lambda: run.apply(flat("10.40.0.0/16", 28)))
            async with asyncio.timeout(WAIT_S):
                while not all(node.placements for node in (await run.nodes()).nodes):  # noqa: ASYNC110 - it is asked
                    await asyncio.sleep(0.1)
        await run.ipamd.topologies.place_pending()
        assert await faults(world.store) == []


async def recovery(world: World) -> None:
    """Begin, note nodes, write again, release, end."""
    async with ipamd(world) as run:
        nodes = [LiveNode("n0"), LiveNode("n1")]
        for i in range(8):
            await nodes[i % 2].add(run, f"c{i}")
        await nodes[0].delete(run, "c0")
        item = await world.store.get(keys.HISTORY)
        assert item is not None
        lost = [entry.key for entry in (await world.store.list("")).items if entry.key.endswith(("/c1", "/c1/eth0"))]
        assert len(lost) == 2
        async with world.disturbed():
            await _as_if_restored(world, lost, nodes[1].live["c1"].addresses[0].ip)
            await until(lambda: not run.ipamd.state.whole or run.ipamd.recovery._since[0])
            async with asyncio.timeout(WAIT_S):
                while (await world.store.get(keys.RESTORED)) is not None or await faults(world.store, told(*nodes)):
                    for node in nodes:
                        await again(lambda node=node: node.ask(run))  # type: ignore[misc]
                    await asyncio.sleep(0.05)
        former = codec_history.read_history(await world.store.get(keys.HISTORY))
        assert former is not None
        assert len(former.former) == 2  # the store's and ipamd's own: one recovery, whatever was lost
        await again(lambda: nodes[0].add(run, "c9"))
        assert await faults(world.store, told(*nodes)) == []


async def _as_if_restored(world: World, lost: list[str], ip: str) -> None:
    """Contents of another cluster, without one attachment."""
    record = codec_history.write_history(HistoryRecord("before", 1))
    deletes = [Delete(key) for key in [*lost, f"addresses/pods/{ip}"]]
    await world.store.txn([], [Put(keys.HISTORY, record), *deletes])


async def layouts(world: World) -> None:
    """Schema written, and upgraded."""
    step = Step({"old/": lambda item: [] if item.value == b"new" else [Put(item.key, b"new")]})
    for number in range(300):
        await world.store.txn([], [Put(f"old/{number}", b"old")])
    async with world.disturbed():
        while not await again(lambda: agree(world.cut, Layout(1, 0))):
            pass
        while not await again(lambda: agree(world.cut, Layout(2, 1, {1: step}))):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.1)  # a lock whose holder lost its connection ends with its lease
    assert {item.value for item in (await world.store.list("old/")).items} == {b"new"}
    item = await world.store.get(schema.KEY)
    assert item is not None
    assert item.value == schema.written(2, 1)


async def objects(world: World) -> None:
    """Kubernetes objects: applied, replaced, deleted, a namespace with what is in it."""
    policy = PolicyObject("team", "p", {"podSelector": {}, "policyTypes": ["Ingress"]}, {})
    pods = [PodObject("team", f"web{i}", {"app": "web"}) for i in range(4)]
    first: list[Object] = [NamespaceObject("team", {"a": "b"}), policy, *pods]

    async def apply() -> None:
        async for _ in apply_objects(world.cut, first):
            pass

    async def delete(identity: Identity) -> None:
        with suppress(NotFound):  # an earlier attempt has done it
            await delete_object(world.cut, identity)

    async with world.disturbed():
        await again(apply)
        uids = {item.key: item.value for item in (await world.store.list(keys.PODS)).items}
        await again(apply)
        assert uids == {item.key: item.value for item in (await world.store.list(keys.PODS)).items}
        assert len(uids) == 4
        await again(lambda: delete(Identity(NETWORK_POLICY, "team", "p")))
        assert (await world.store.list(keys.POLICIES)).items == ()
        await again(lambda: delete(Identity(NAMESPACE, "", "team")))
    left = [item.key for item in (await world.store.list("")).items if "team" in item.key]
    assert left == []


async def receipts(world: World) -> None:
    pace = Pace(resync_s=1.0, rest_s=0.01, backoff_s=0.05)
    writer = ReceiptWriter(world.cut, keys.receipt("n0", "routed"), backend="netlink", pace=pace)
    task = asyncio.create_task(writer.run())
    try:
        async with world.disturbed():
            for revision in range(1, 8):
                writer.report(Report({"nodes/": revision}))
                async with asyncio.timeout(WAIT_S):
                    while await _receipt_revision(world.store) != revision:  # noqa: ASYNC110 - it is asked
                        await asyncio.sleep(0.02)
        (item,) = (await world.store.list(keys.RECEIPTS)).items
        assert item.lease != 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _receipt_revision(store: Store) -> int:
    items = (await store.list(keys.RECEIPTS)).items
    return Receipt.FromString(items[0].value).applied["nodes/"] if items else 0


MAKERS = [
    allocations_and_claims,
    releases,
    nodes_and_topologies,
    addresses_forgotten,
    nodes_placed,
    recovery,
    layouts,
    objects,
    receipts,
]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
async def test_what_loses_its_answer_at_a_random_point_happens_exactly_once(
    own_etcd: EtcdServer, maker: Callable[[World], Awaitable[None]], seed: int
) -> None:
    folder = own_etcd.directory
    proxy = CuttingProxy(Path(own_etcd.target.removeprefix("unix:")), folder / "proxy")
    store, cut = EtcdStore([own_etcd.target]), EtcdStore([proxy.target])
    try:
        async with proxy.serving():
            await maker(World(store, cut, proxy, random.Random(seed)))  # noqa: S311 - a test's choices
        assert proxy.cuts > 0
    finally:
        await cut.close()
        await store.close()
