"""`plan`: what a change would do, part by part, and which live addresses stand in the way; nothing is changed by it."""

from typing import Any

from romana.store.api import Store
from tests.ipamd import flat, running, until, write_pod


def racks(*names: str, cidr: str = "10.40.0.0/16") -> dict[str, Any]:
    groups = [{"name": name, "assignment": {"rack": name}, "groups": []} for name in names]
    return {
        "networks": [{"name": "pods", "cidr": cidr, "block_mask": 28}],
        "topologies": [{"networks": ["pods"], "map": groups}],
    }


async def test_first_document_adds_everything_and_the_one_in_force_changes_nothing(store: Store) -> None:
    async with running(store) as run:
        plan = await run.plan(racks("r1", "r2"))
        assert (plan.changed, plan.generation) == (True, 0)
        assert [(part.fate, part.cidr, part.after) for part in plan.prefixes] == [
            ("added", "10.40.0.0/17", "r1 /28"),
            ("added", "10.40.128.0/17", "r2 /28"),
        ]
        await run.apply(racks("r1", "r2"))
        same = await run.plan(racks("r1", "r2"))
        assert (same.changed, list(same.prefixes), list(same.moves)) == (False, [], [])


async def test_prefixes_nodes_and_blocks_that_change_are_told_and_nothing_is_changed(store: Store) -> None:
    async with running(store) as run:
        await run.apply(racks("r1", "r2"))
        await run.add_node("n1", labels={"rack": "r1"})
        await run.add_node("n2", labels={"rack": "r2"})
        await until(lambda: len(run.ipamd.state.blocks.rows) == 2)
        before = (await store.list("")).items
        plan = await run.plan(racks("r1", "new", "r2"))
        assert [(part.fate, part.cidr, part.before, part.after) for part in plan.prefixes] == [
            ("removed", "10.40.0.0/17", "r1 /28", ""),
            ("added", "10.40.0.0/18", "", "r1 /28"),
            ("added", "10.40.64.0/18", "", "new /28"),
            ("removed", "10.40.128.0/17", "r2 /28", ""),
            ("added", "10.40.128.0/18", "", "r2 /28"),
            ("added", "10.40.192.0/18", "", "pad"),
        ]
        assert [(move.node, move.before, move.after) for move in plan.moves] == [
            ("n1", "r1 10.40.0.0/17", "r1 10.40.0.0/18"),
            ("n2", "r2 10.40.128.0/17", "r2 10.40.128.0/18"),
        ]
        assert list(plan.given_back) == list(plan.refusals) == []
        assert (await store.list("")).items == before


async def test_live_addresses_in_the_way_are_named_with_their_pods(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web")
        ip = await run.ip("n1", "c1", ("default", "web", ""))
        await run.ip("n1", "c2")
        await run.release("n1", "c2")
        plan = await run.plan(flat("10.50.0.0/16"))
        (block,) = plan.in_the_way
        assert (block.node, block.held, block.cooling) == ("n1", 1, 1)
        assert list(block.addresses) == [f"{ip} default/web", "10.40.0.1 cooling"]
        assert plan.refusals
        assert await run.ip("n1", "c3") == "10.40.0.2"


async def test_blocks_without_live_addresses_are_named_as_given_back(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)
        plan = await run.plan(flat("10.50.0.0/16"))
        assert list(plan.given_back) == ["block 10.40.0.0/29 of node n1 in network pods"]
        assert not plan.refusals


async def test_wrong_document_is_told_with_its_faults(store: Store) -> None:
    async with running(store) as run:
        plan = await run.plan({"networks": []})
        assert {fault.path for fault in plan.faults} == {"networks", "topologies"}
