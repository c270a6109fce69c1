"""Failure scenarios of address management that concern allocation; the table in docs/ipam.md names them all."""

import asyncio
from contextlib import aclosing

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Conflict, Exhausted, Refused
from romana.store.api import Put, Store
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Running, attachment, flat, running, until


async def test_s3_two_then_many_nodes_want_the_last_block_and_one_gets_it(store: Store) -> None:
    await race_for_the_last_block(store, 60)


@pytest.mark.long
async def test_s3_five_hundred_nodes_want_the_last_block_and_one_gets_it(store: Store) -> None:
    await race_for_the_last_block(store, 500)


async def race_for_the_last_block(store: Store, nodes: int) -> None:
    async with running(store) as one, running(store) as other:
        await one.apply(flat("10.40.0.0/30", 30))
        for number in range(nodes):
            await one.add_node(f"n{number}")
        await until(lambda: len(other.ipamd.state.nodes.rows) == nodes)
        asked = [run.allocate(f"n{number}", "c") for number in range(nodes) for run in (one, other)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        won = {number // 2 for number, answer in enumerate(answers) if isinstance(answer, ipam_pb2.AllocateResponse)}
        lost = [answer for answer in answers if not isinstance(answer, ipam_pb2.AllocateResponse)]
        assert len(won) == 1
        assert all(isinstance(answer, Exhausted | Conflict) for answer in lost)
        assert len((await store.list(keys.BLOCKS)).items) == 1
        assert await faults(store) == []


async def test_s8_two_hundred_pods_at_once_on_a_node_and_their_teardown_at_once(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        ips = await asyncio.gather(*(run.ip("n1", f"c{i}") for i in range(200)))
        assert len(set(ips)) == 200
        assert await faults(store) == []
        released = await asyncio.gather(*(run.release("n1", f"c{i}") for i in range(200)))
        assert all(answer.released for answer in released)
        assert not (await store.list(keys.ATTACHMENTS)).items
        assert await faults(store) == []


async def test_s11_a_full_tenants_network_says_which_group_and_owner_and_goes_on_after_a_release(store: Store) -> None:
    document = flat("10.40.0.0/31", 31)
    document["networks"][0]["owner"] = "tenant"
    await store.txn([], [Put(keys.pod(name, "p"), store_pb2.Pod().SerializeToString()) for name in ("red", "blue")])
    async with running(store, cooldown_s=0) as run:
        await run.apply(document)
        await run.add_node("n1")
        for number in range(2):
            await run.allocate("n1", f"c{number}", ("red", "p", ""))
        words = r"no address left for n1, tenant blue, segment default in group pods \(everyone, 10.40.0.0/31\) of network pods"
        with pytest.raises(Exhausted, match=words):
            await run.allocate("n1", "d0", ("blue", "p", ""))
        with pytest.raises(Exhausted, match="tenant red"):
            await run.allocate("n1", "c2", ("red", "p", ""))
        await run.release("n1", "c0")
        assert await run.ip("n1", "c2", ("red", "p", "")) == "10.40.0.0"


async def test_s15_two_text_forms_of_one_fixed_address_are_one_address(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("fd00:40::/112", 120))
        await run.add_node("n1")
        for name, ip in (("short", "fd00:40::5"), ("long", "FD00:0040:0:0:0:0:0:0005")):
            pod = store_pb2.Pod(annotations={"romana.io/ip": ip})
            await store.txn([], [Put(keys.pod("default", name), pod.SerializeToString())])
        assert await run.ip("n1", "c1", ("default", "short", "")) == "fd00:40::5"
        with pytest.raises(Refused, match="fd00:40::5 is taken: pod default/short"):
            await run.allocate("n1", "c2", ("default", "long", ""))


async def test_s19_a_restart_with_many_allocations_knows_them_all_and_writes_nothing(store: Store) -> None:
    await restart_with_batches(store, 1, 300)


@pytest.mark.long
async def test_s19_a_restart_with_ten_thousand_allocations_writes_nothing(store: Store) -> None:
    await restart_with_batches(store, 10, 1000)


async def allocated(run: Running, batch: ipam_pb2.AllocateBatchRequest) -> ipam_pb2.AllocateBatchResponse:
    return await run.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))


async def restart_with_batches(store: Store, count: int, size: int) -> None:
    """So many batches of that size, each of a node."""
    batches = [
        ipam_pb2.AllocateBatchRequest(
            requests=[ipam_pb2.AllocateRequest(attachment=attachment(f"n{number}", f"c{i}")) for i in range(size)]
        )
        for number in range(count)
    ]

    async def ips(run: Running) -> list[str]:
        answers = [await allocated(run, batch) for batch in batches]
        await until(lambda: not run.ipamd.state.uneven)
        return [outcome.response.addresses[0].ip for answer in answers for outcome in answer.outcomes]

    async with running(store) as run:
        await run.apply(flat())
        for number in range(count):
            await run.add_node(f"n{number}")
        first = await ips(run)
        assert len(set(first)) == count * size
    before = (await store.status()).revision
    async with running(store) as run:
        assert await ips(run) == first
        assert (await store.status()).revision == before


async def test_who_watches_blocks_hears_nothing_when_a_pod_starts_in_a_block_that_its_node_has(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat(block_mask=24))
        await run.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)
        seen = (await store.list(keys.BLOCKS)).revision
        for i in range(20):
            await run.allocate("n1", f"c{i}")
        await run.release("n1", "c3")
        await store.txn([], [Put(keys.block("pods", keys.parse_block("blocks/pods/10.40.9.0_24")[1]), b"")])
        async with aclosing(store.watch(keys.BLOCKS, seen + 1)) as batches:
            first = await anext(batches)
        assert [event.key for event in first.events] == ["blocks/pods/10.40.9.0_24"]
