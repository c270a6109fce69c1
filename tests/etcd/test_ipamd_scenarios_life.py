"""Failure scenarios about the lives of containers, nodes, etcd and the clock; the table in docs/ipam.md names them all."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import pytest

import ipam.server
from ipam.invariants import faults
from romana import keys
from romana.errors import Conflict, Exhausted, Refused, Unavailable
from romana.store.api import KeyValue, Put, Store
from romana.store.etcd import EtcdStore
from romana.v1 import ipam_pb2, store_pb2
from tests.etcd.cluster import EtcdCluster
from tests.etcd.server import EtcdServer
from tests.ipamd import Clock, Running, attachment, flat, running, until

Answer = TypeVar("Answer")

HOUR_MS = 3_600_000


async def attached(run: Running, node: str, boot_id: str) -> list[store_pb2.AttachmentKey]:
    """What an agent finds at its start: attachments of the node that another boot made."""
    request = ipam_pb2.ListAttachmentsRequest(node=node)
    answer = await run.ipam(lambda stub, left: stub.ListAttachments(request, timeout=left))
    return [found.key for found in answer.attachments if found.boot_id != boot_id]


async def give_back(run: Running, found: list[store_pb2.AttachmentKey]) -> int:
    batch = ipam_pb2.ReleaseBatchRequest(requests=[ipam_pb2.ReleaseRequest(attachment=key) for key in found])
    answer = await run.ipam(lambda stub, left: stub.ReleaseBatch(batch, timeout=left))
    return sum(outcome.response.released for outcome in answer.outcomes)


async def boot(run: Running, node: str, containers: list[str], boot_id: str) -> list[str]:
    """Addresses of these containers, of that boot of the node."""
    asked = [ipam_pb2.AllocateRequest(attachment=attachment(node, name), boot_id=boot_id) for name in containers]
    batch = ipam_pb2.AllocateBatchRequest(requests=asked)
    answer = await run.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))
    assert not [outcome.error.message for outcome in answer.outcomes if outcome.WhichOneof("outcome") == "error"]
    return [outcome.response.addresses[0].ip for outcome in answer.outcomes]


async def keyspace(store: Store, *runs: Running) -> tuple[KeyValue, ...]:
    for run in runs:
        await until(lambda run=run: not run.ipamd.state.uneven)  # type: ignore[misc]
    return (await store.list("")).items


async def test_s1_an_ipamd_that_died_before_it_answered_has_given_one_address_whoever_asks_again(store: Store) -> None:
    """The commit is there and nobody heard. The same container gets it; a new one another, and the old one can be given back."""
    async with running(store) as other:
        async with running(store) as dying:
            await dying.apply(flat())
            await dying.add_node("n1")
            await dying.allocate("n1", "old")  # this answer is what got lost
        kept = await other.allocate("n1", "old")
        assert kept.existing
        new = await boot(other, "n1", ["new"], "boot-1")
        assert new != [kept.addresses[0].ip]
        left = [key for key in await attached(other, "n1", "") if key.container_id == "old"]
        assert await give_back(other, left) == 1
        held = [store_pb2.Address.FromString(item.value) for item in (await store.list(keys.ADDRESSES)).items]
        assert sum(address.state == store_pb2.ADDRESS_STATE_HELD for address in held) == 1
        assert await faults(store, {keys.attachment("n1", "romana", "new", "eth0"): new[0]}) == []


async def test_s6_a_node_made_anew_under_its_name_is_fenced_on_every_ipamd_and_doubles_nothing(store: Store) -> None:
    """Pods of the old incarnation go on: their addresses cool in its blocks, and nobody gets one meanwhile. I9."""
    clock = Clock()
    async with running(store, clock=clock) as one, running(store, clock=clock) as two:
        await one.apply(flat())
        old_uid = (await one.add_node("n1", uid="old")).node.uid
        old = [await two.ip("n1", f"c{i}") for i in range(3)]
        with pytest.raises(Refused, match="another incarnation"):
            await two.add_node("n1", uid="new")
        assert (await one.remove("n1", force=True)).released == 3
        await one.add_node("n1", uid="new")
        for run in (one, two):  # `two` may not have heard of anything yet
            with pytest.raises(Refused, match="another incarnation") as caught:
                await run.allocate("n1", "c9", node_uid=old_uid)
            assert caught.value.reason == "NODE_REPLACED"
        new = [(await (one, two)[i % 2].allocate("n1", f"c{i}", node_uid="new")).addresses[0].ip for i in range(12)]
        assert set(new).isdisjoint(old)
        assert len(set(new)) == 12
        blocks = [store_pb2.Block.FromString(item.value) for item in (await store.list(keys.BLOCKS)).items]
        assert {block.node_uid for block in blocks} >= {"old", "new"}
        assert await faults(store) == []


async def test_s7_a_reboot_without_dels_gives_back_what_it_held_and_keeps_the_blocks(store: Store) -> None:
    """A group of four addresses, all held when the power fails: after the boot there are four again, in the same block."""
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/30", 30))
        await run.add_node("n1", uid="u1")
        before = await boot(run, "n1", ["a", "b", "c", "d"], "boot-1")
        blocks = (await store.list(keys.BLOCKS)).items
        with pytest.raises(Exhausted):
            await run.allocate("n1", "e")
        assert await give_back(run, await attached(run, "n1", "boot-2")) == 4
        assert await attached(run, "n1", "boot-2") == []
        assert sorted(await boot(run, "n1", ["e", "f", "g", "h"], "boot-2")) == sorted(before)
        assert (await store.list(keys.BLOCKS)).items == blocks
        assert await faults(store) == []


@pytest.mark.long
async def test_s8_a_thousand_pods_of_a_cluster_at_once_and_their_teardown(store: Store) -> None:
    async with running(store) as one, running(store) as two, running(store) as three:
        await one.apply(flat())
        for number in range(50):
            await one.add_node(f"n{number}")
        runs = (one, two, three)
        asked = [(f"n{number % 50}", f"c{number}") for number in range(1000)]
        ips = await asyncio.gather(*(runs[i % 3].ip(*place) for i, place in enumerate(asked)))
        assert len(set(ips)) == 1000
        released = await asyncio.gather(*(runs[i % 3].release(*place) for i, place in enumerate(asked)))
        assert all(answer.released for answer in released)
        assert await faults(store) == []


@pytest.mark.etcd
async def test_s9_an_etcd_that_is_compacted_stalls_and_dies_in_a_storm_loses_and_doubles_nothing(own_etcd: EtcdServer) -> None:
    """I1, I2, I14: acknowledged addresses are all there; what could not be answered was asked again."""

    async def compact(store: EtcdStore) -> None:
        await store.compact((await store.status()).revision)

    async def stall(_: EtcdStore) -> None:
        await asyncio.to_thread(own_etcd.freeze)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_etcd.thaw)

    async def die(_: EtcdStore) -> None:
        await asyncio.to_thread(own_etcd.kill)
        await asyncio.to_thread(own_etcd.start)

    await storm([own_etcd.target], [compact, stall, die])


@pytest.mark.long
@pytest.mark.etcd
@pytest.mark.timeout(600)
async def test_s9_three_members_lose_their_leader_again_and_again_in_a_storm(etcd_installed: None) -> None:
    """Whichever member leads: each is killed, and comes back, in turn."""
    with EtcdCluster() as cluster:

        async def lose(number: int, _: EtcdStore) -> None:
            await asyncio.to_thread(cluster.members[number].kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(cluster.start)

        await storm(cluster.targets, [partial(lose, number % 3) for number in range(9)])


async def storm(targets: list[str], faults_: Sequence[Callable[[EtcdStore], Awaitable[None]]]) -> None:
    """Two ipamd give and take while one thing after the other happens to etcd; then all that was told is there, once."""
    stores = [EtcdStore(targets) for _ in range(3)]
    async with running(stores[0], cooldown_s=0) as one, running(stores[1], cooldown_s=0) as two:
        await one.apply(flat(block_mask=28))
        for number in range(3):
            await one.add_node(f"n{number}")
        told: dict[str, str] = {}
        rounds, over = 0, asyncio.Event()

        async def worker(run: Running, number: int) -> None:
            nonlocal rounds
            round_ = 0
            while not over.is_set():
                place = (f"n{number % 3}", f"c{number}-{round_}")
                key = keys.attachment(place[0], "romana", place[1], "eth0")
                told[key] = (await insist(partial(run.allocate, *place))).addresses[0].ip
                if round_ % 2:
                    del told[key]
                    await insist(partial(run.release, *place))
                round_, rounds = round_ + 1, rounds + 1

        workers = [asyncio.create_task(worker((one, two)[number % 2], number)) for number in range(20)]
        for fault in faults_:
            seen = rounds
            await until(lambda seen=seen: rounds >= seen + 20 or any(task.done() for task in workers))  # type: ignore[misc]
            await fault(stores[2])
        over.set()
        await asyncio.gather(*workers)
        assert len(set(told.values())) == len(told) >= 20
        assert await faults(stores[2], told) == []
    for store in stores:
        await store.close()


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """As an agent: what may succeed later is asked again."""
    while True:
        try:
            return await call()
        except (Unavailable, Conflict):
            await asyncio.sleep(0.05)


def changed(**network: Any) -> dict[str, Any]:
    document = copy.deepcopy(flat("10.40.0.0/27", 29))
    document["networks"][0] |= network
    return document


IN_THE_WAY = {
    "network gone": (flat("10.41.0.0/27", 29, "other"), "gone from the document"),
    "shrunk away from": (changed(cidr="10.40.0.16/28"), "10.40.0.0/29"),
    "other block size": (changed(block_mask=30), "10.40.0.0/29"),
    "other owner": (changed(owner="tenant"), "10.40.0.0/29"),
    "reserved": (changed(reserved=["10.40.0.0/29"]), "addresses that are held"),
}


@pytest.mark.parametrize(("document", "words"), IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
async def test_s12_a_change_that_would_strand_a_live_address_is_refused_until_it_is_drained(
    store: Store, document: dict[str, Any], words: str
) -> None:
    """I12, W5: nothing is written, allocation goes on; once the address is let go and cooled, the same change is applied."""
    async with running(store, cooldown_s=0) as one, running(store, cooldown_s=0) as two:
        await one.apply(changed())
        await one.add_node("n1")
        ip = await two.ip("n1", "c1")
        before = await keyspace(store, one, two)
        with pytest.raises(Refused, match=words):
            await one.apply(document)
        assert await keyspace(store, one, two) == before
        assert (await two.allocate("n1", "c1")).addresses[0].ip == ip
        await two.release("n1", "c1")
        assert (await one.apply(document)).generation == 2
        assert await faults(store) == []


async def test_s16_no_address_is_borrowed_from_another_nodes_block_where_no_route_would_lead_to_it(store: Store) -> None:
    """I4: a full group is exhausted although another node has free addresses, and a fixed address stays with its block's node."""
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/29", 30))
        for name in ("n1", "n2"):
            await run.add_node(name)
        assert [await run.ip("n1", f"c{i}") for i in range(4)] == [f"10.40.0.{i}" for i in range(4)]
        assert await run.ip("n2", "d") == "10.40.0.4"
        with pytest.raises(Exhausted):
            await run.allocate("n1", "c4")
        pod = store_pb2.Pod(annotations={"romana.io/ip": "10.40.0.5"})
        await store.txn([], [Put(keys.pod("default", "p"), pod.SerializeToString())])
        with pytest.raises(Refused) as caught:
            await run.allocate("n1", "c4", ("default", "p", ""))
        assert caught.value.reason == "ADDRESS_NOT_ON_NODE"
        assert await run.ip("n2", "d2", ("default", "p", "")) == "10.40.0.5"


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS])
async def test_s17_a_wall_clock_that_jumps_an_hour_frees_nothing_early_and_nothing_late(
    store: Store, monkeypatch: pytest.MonkeyPatch, jump_ms: int
) -> None:
    """I14: cool-down is counted on the monotonic clock."""
    wall_ms = [1_700_000_000_000]
    monkeypatch.setattr(ipam.server, "_now_ms", lambda: wall_ms[0])
    clock = Clock()
    async with running(store, cooldown_s=30, clock=clock) as one, running(store, cooldown_s=30, clock=clock) as two:
        await one.apply(flat("10.40.0.0/31", 32))
        await one.add_node("n1")
        await one.allocate("n1", "a")
        await until(lambda: len(one.ipamd.state.blocks.rows) == len(two.ipamd.state.blocks.rows) == 2)
        await one.release("n1", "a")
        wall_ms[0] += jump_ms
        clock.now_s += 29
        assert await two.ip("n1", "b") == "10.40.0.1"
        await two.release("n1", "b")
        clock.now_s += 2
        assert await one.ip("n1", "c") == "10.40.0.0"  # the one that has cooled, though released at a later time on the wall
        assert await faults(store) == []
