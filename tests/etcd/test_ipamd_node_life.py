"""Nodes that drain, are removed, and come back under their name: nothing doubles, and blocks return once they have cooled."""

import asyncio
import contextlib

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Exhausted, NotFound, Refused
from romana.store.api import Store
from tests.ipamd import Clock, Running, flat, running, until, write_pod


async def test_draining_node_gets_no_new_address_and_keeps_those_it_has(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        ip = await run.ip("n1", "c1")
        drained = await run.drain("n1")
        assert drained.attachments == 1
        with pytest.raises(Refused, match="draining"):
            await run.ip("n1", "c2")
        assert await run.ip("n1", "c1") == ip  # a repeat of what it has
        assert (await run.drain("n1")).revision >= drained.revision
        await run.drain("n1", undo=True)
        await run.ip("n1", "c2")


async def test_drain_names_what_is_left_with_its_pod(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "u1")
        await run.ip("n1", "c1", ("default", "web", "u1"))
        await run.ip("n1", "c2")
        left = {one.key.container_id: one for one in (await run.drain("n1")).left}
        assert (left["c1"].pod.namespace, left["c1"].pod.name, list(left["c1"].addresses)) == ("default", "web", ["10.40.0.0"])
        assert not left["c2"].HasField("pod")
        with pytest.raises(Refused, match=r"c1/eth0 of pod default/web, c2/eth0;"):
            await run.remove("n1")


async def test_unknown_node_is_not_drained_and_its_removal_is_no_error(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        with pytest.raises(NotFound, match="romana node list"):
            await run.drain("nobody")
        assert not (await run.remove("nobody")).removed


async def test_node_with_attachments_is_not_removed_and_they_are_named(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await run.ip("n1", "c1")
        with pytest.raises(Refused, match=r"c1/eth0.*--force"):
            await run.remove("n1")
        assert (await run.drain("n1")).node.name == "n1"
        await run.release("n1", "c1")
        assert (await run.remove("n1")).removed
        assert await store.get(keys.node("n1")) is None
        assert await faults(store) == []


async def test_blocks_of_a_removed_node_return_when_their_addresses_have_cooled(store: Store) -> None:
    clock = Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        await run.apply(flat("10.40.0.0/29", 29))
        await run.add_node("n1")
        assert await run.ip("n1", "c1") == "10.40.0.0"
        assert (await run.remove("n1", force=True)).released == 1
        await run.add_node("n2")
        clock.now_s += 10
        assert (await store.list(keys.BLOCKS)).items  # an address of it cools still
        clock.now_s += 30
        assert await until_ip(run, "n2") == "10.40.0.0"
        assert await faults(store) == []


async def until_ip(run: Running, node: str) -> str:
    """The first address that the node gets, once there is one."""
    while True:
        with contextlib.suppress(Exhausted):
            return await run.ip(node, "c2")
        await asyncio.sleep(0.05)


async def test_node_that_comes_back_under_its_name_is_another_and_gets_nothing_of_the_old_one(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        first = (await run.add_node("n1")).node.uid
        old = await run.ip("n1", "c1")
        await run.remove("n1", force=True)
        second = (await run.add_node("n1")).node.uid
        assert second != first
        new = await run.ip("n1", "c1")
        assert new != old  # it cools in a block of the incarnation that is gone
        with pytest.raises(Refused):
            await run.allocate("n1", "c9", node_uid=first)
        assert await faults(store) == []


async def test_removal_and_allocations_at_once_on_two_ipamd_leave_no_attachment_without_its_node(store: Store) -> None:
    async with running(store) as one, running(store) as two:
        await one.apply(flat())
        await one.add_node("n1")
        await two.ip("n1", "c0")
        results = await asyncio.gather(
            one.remove("n1", force=True), *(two.ip("n1", f"c{i}") for i in range(1, 20)), return_exceptions=True
        )
        assert not isinstance(results[0], BaseException), results[0]
        assert (await store.list(f"{keys.ATTACHMENTS}n1/")).items == ()
        assert await faults(store) == []
        await until(lambda: one.ipamd.state.node("n1") is None)
