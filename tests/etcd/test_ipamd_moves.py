"""A node whose labels come to ask for another group says so, stays with its blocks, and moves once it was drained."""

import asyncio
import json
import logging
from typing import Any

import pytest

from ipam.invariants import faults
from romana.errors import Refused
from romana.store.api import Store
from romana.v1 import node_pb2, store_pb2
from tests.ipamd import Clock, Running, running, until

COOLDOWN_S = 30
RACKS: dict[str, Any] = {
    "networks": [{"name": "dc", "cidr": "10.42.0.0/16", "block_mask": 29}],
    "topologies": [
        {
            "networks": ["dc"],
            "map": [
                {"name": "rack-1", "assignment": {"rack": "r1"}, "groups": []},
                {"name": "rack-2", "assignment": {"rack": "r2"}, "groups": []},
            ],
        }
    ],
}
R1, R2 = {"rack": "r1"}, {"rack": "r2"}
MOVE = node_pb2.PendingMove(node="a1", network="dc", before="rack-1 10.42.0.0/17", after="rack-2 10.42.128.0/17")


async def group(run: Running, node: str = "a1") -> list[str]:
    return [place.group_name for place in (await run.node(node)).node.placements]


async def relabelled(run: Running) -> None:
    """a1 of rack-1, with a pod, says that it is in rack-2."""
    await run.apply(RACKS)
    await run.add_node("a1", labels=R1)
    assert (await run.ip("a1", "c1")).startswith("10.42.0.")
    answer = await run.add_node("a1", labels=R2)
    assert answer.changed
    assert list(answer.pending) == [MOVE]


async def until_moved(run: Running, clock: Clock) -> None:
    async with asyncio.timeout(60):
        while (await run.nodes()).pending:
            clock.now_s += COOLDOWN_S
            await asyncio.sleep(0.05)


async def test_it_is_told_everywhere_and_the_node_goes_on_where_it_is(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ipam.nodes")
    async with running(store) as run:
        await relabelled(run)
        assert any("moves once drained" in record.message for record in caplog.records)
        for pending in ((await run.nodes()).pending, (await run.node("a1")).pending, (await run.show()).pending):
            assert list(pending) == [MOVE]
        assert await group(run) == ["rack-1"]
        for number in range(2, 12):  # more than a block
            assert (await run.ip("a1", f"c{number}")).startswith("10.42.0.")
        again = await run.add_node("a1", labels=R2)
        assert (again.changed, list(again.pending)) == (False, [MOVE])
        assert await faults(store) == []


async def test_it_moves_when_it_was_drained_and_its_addresses_have_cooled(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await relabelled(run)
        answer = await run.drain("a1")
        assert (answer.attachments, list(answer.pending)) == (1, [MOVE])
        clock.now_s += 1000
        await run.ipamd.spares.give_back()
        await run.ipamd.moving.move_drained()
        assert await group(run) == ["rack-1"]  # a pod is left
        await run.release("a1", "c1")
        assert await group(run) == ["rack-1"]  # its address cools
        await until_moved(run, clock)
        assert await group(run) == ["rack-2"]
        assert not (await run.node("a1")).blocks
        assert (await run.node("a1")).node.state == store_pb2.NODE_STATE_DRAINING
        await run.drain("a1", undo=True)
        assert (await run.ip("a1", "c2")).startswith("10.42.128.")
        assert await faults(store) == []


async def test_labels_that_are_put_back_end_it(store: Store) -> None:
    async with running(store) as run:
        await relabelled(run)
        answer = await run.add_node("a1", labels=R1)
        assert answer.changed
        assert not answer.pending
        assert not (await run.nodes()).pending
        assert not any(place.kept for place in answer.node.placements)


async def test_undo_before_it_has_moved_leaves_it_where_it_is(store: Store) -> None:
    async with running(store) as run:
        await relabelled(run)
        await run.drain("a1")
        await run.drain("a1", undo=True)
        assert (await run.ip("a1", "c2")).startswith("10.42.0.")
        assert list((await run.nodes()).pending) == [MOVE]


async def test_labels_that_no_group_takes_at_all_are_refused(store: Store) -> None:
    async with running(store) as run:
        await relabelled(run)
        with pytest.raises(Refused, match="no group of the topology takes node a1"):
            await run.add_node("a1", labels={"rack": "r9"})
        assert (await run.node("a1")).node.labels == R2


async def test_another_ipamd_knows_it_and_two_move_it_once(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as one:
        await relabelled(one)
        async with running(store, COOLDOWN_S, clock) as two:
            assert list((await two.nodes()).pending) == [MOVE]
            await two.drain("a1")
            await two.release("a1", "c1")

            async def sweep(run: Running) -> None:
                await run.ipamd.spares.give_back()
                await run.ipamd.moving.move_drained()

            async with asyncio.timeout(60):
                while (await one.nodes()).pending:
                    await asyncio.gather(sweep(one), sweep(two))
                    clock.now_s += COOLDOWN_S
            assert await group(two) == ["rack-2"]
            assert await faults(store) == []


async def test_new_topology_leaves_it_in_its_group_or_is_refused_for_its_pods(store: Store) -> None:
    async with running(store) as run:
        await relabelled(run)
        renamed = json.loads(json.dumps(RACKS).replace("rack-2", "rack-two"))
        await run.apply(renamed)
        assert await group(run) == ["rack-1"]
        assert [move.after for move in (await run.nodes()).pending] == ["rack-two 10.42.128.0/17"]
        fits = json.loads(json.dumps(RACKS).replace('"r2"', '"r8"').replace('"r1"', '"r2"'))
        await run.apply(fits)
        assert await group(run) == ["rack-1"]
        assert not (await run.nodes()).pending
        other = json.loads(json.dumps(RACKS).replace("10.42.", "10.43."))
        with pytest.raises(Refused, match=r"block 10\.42\.0\.0/29 of node a1"):
            await run.apply(other)
        assert await faults(store) == []


async def test_new_topology_without_its_group_places_it_by_its_labels(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await relabelled(run)
        await run.release("a1", "c1")
        clock.now_s += COOLDOWN_S + 1
        await run.apply(json.loads(json.dumps(RACKS).replace("10.42.", "10.43.").replace("rack-1", "rack-one")))
        assert await group(run) == ["rack-2"]
        assert not (await run.nodes()).pending
        await until(lambda: run.ipamd.state.blocks.rows)
        assert await faults(store) == []
