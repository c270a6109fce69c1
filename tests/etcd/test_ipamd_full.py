"""A full group is told: by Show, to whoever watches, and once in the log; and so are blocks on their way back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from romana.errors import Exhausted
from romana.store.api import Store
from romana.v1 import topology_pb2
from romana.v1.topology_pb2_grpc import TopologyStub
from tests.ipamd import Clock, Running, flat, running, until

COOLDOWN_S = 30


async def full_of_two(run: Running) -> None:
    """Two blocks of 4: all of n1's addresses are held, n2 has one."""
    await run.apply(flat("10.40.0.0/29", 30))
    await run.add_node("n1")
    await run.ip("n1", "a0")
    await run.add_node("n2")
    await run.ip("n2", "b0")
    for number in range(1, 4):
        await run.ip("n1", f"a{number}")


def needs(group: topology_pb2.FullGroup) -> dict[str, int]:
    return {owner.node: owner.need for owner in group.owners}


async def test_show_names_the_full_group_and_who_is_short(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await full_of_two(run)
        (group,) = (await run.show()).full
        assert (group.path, group.cidr, group.blocks, group.urgent) == ("pods", "10.40.0.0/29", 2, True)
        assert needs(group) == {"n1": topology_pb2.NEED_OUT}
        assert any("topology plan" in line for line in group.help)
        with pytest.raises(Exhausted):
            await run.ip("n1", "a9")
        await run.release("n1", "a3")
        await until(lambda: run.ipamd.state.addresses.rows["addresses/pods/10.40.0.3"].value.released_ms)
        (group,) = (await run.show()).full
        assert needs(group) == {"n1": topology_pb2.NEED_COOLING}
        clock.now_s += COOLDOWN_S + 1
        (group,) = (await run.show()).full
        assert (needs(group), group.urgent) == ({"n1": topology_pb2.NEED_NEAR}, False)


@asynccontextmanager
async def watched(run: Running) -> AsyncIterator["asyncio.Queue[topology_pb2.FullGroups]"]:
    """What WatchFull streams, as it comes."""
    told: asyncio.Queue[topology_pb2.FullGroups] = asyncio.Queue()

    async def follow() -> None:
        async with grpc.aio.insecure_channel(run.address) as channel:
            async for groups in TopologyStub(channel).WatchFull(topology_pb2.WatchFullRequest()):
                told.put_nowait(groups)

    task = asyncio.create_task(follow())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_whoever_watches_hears_that_a_group_is_full_and_that_it_is_not_any_more(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run, watched(run) as told, asyncio.timeout(60):
        assert not (await told.get()).groups
        await full_of_two(run)

        async def until_told(urgent: list[bool]) -> None:
            while [group.urgent for group in (await told.get()).groups] != urgent:
                pass

        async def time_goes_on() -> None:
            while True:
                clock.now_s += COOLDOWN_S
                await asyncio.sleep(0.05)

        passing = asyncio.create_task(time_goes_on())
        await until_told([True])
        await run.remove("n2", force=True)
        await until_told([])
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)


async def test_ipamd_that_stops_ends_the_watch(store: Store) -> None:
    async with running(store) as run:
        watcher = grpc.aio.insecure_channel(run.address)
        told = aiter(TopologyStub(watcher).WatchFull(topology_pb2.WatchFullRequest()))
        await anext(told)
    async with asyncio.timeout(60):
        with pytest.raises(StopAsyncIteration):
            await anext(told)
    await watcher.close()


async def test_watch_before_the_store_was_read_is_told_to_come_again(store: Store) -> None:
    async with running(store) as run:
        run.ipamd.state.nodes.whole = False
        async with grpc.aio.insecure_channel(run.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(TopologyStub(channel).WatchFull(topology_pb2.WatchFullRequest())))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_change_is_logged_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ipam.full_watch")
    async with running(store) as run:
        await full_of_two(run)
        for _ in range(3):
            run.ipamd.full.look()
        told = [record for record in caplog.records if "short of addresses" in record.message]
        assert [vars(record)["short"] for record in told] == [["n1 (out)"]]
        await run.release("n1", "a3")
        run.ipamd.full.look()
        run.ipamd.full.look()
        assert len([record for record in caplog.records if "short of addresses" in record.message]) == 2


async def test_block_of_a_removed_node_is_shown_with_the_time_at_which_it_returns(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await run.ip("n1", "a0")
        assert not (await run.show()).returning
        before = datetime.now(UTC)
        await run.remove("n1", force=True)
        (block,) = (await run.show()).returning
        assert (block.cidr, block.node, block.held, block.cooling) == ("10.40.0.0/29", "n1", 0, 1)
        ready = block.ready.ToDatetime(UTC)
        assert before + timedelta(seconds=COOLDOWN_S - 1) <= ready <= datetime.now(UTC) + timedelta(seconds=COOLDOWN_S + 1)

        async def gone() -> None:
            while (await run.show()).returning:
                clock.now_s += COOLDOWN_S
                await asyncio.sleep(0.05)

        await asyncio.wait_for(gone(), 60)
