"""The topology service: documents, plans, nodes; on a store in memory and on etcd."""

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import InvalidInput, NotFound, Refused
from romana.store.api import Store
from romana.v1 import node_pb2, store_pb2
from tests.ipamd import Clock, Running, flat, running, until

SHARED = Path(__file__).parents[2].parent / "shared" / "topologies"
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(SHARED.glob("e*.json"))}

RACKS: dict[str, Any] = {
    "networks": [{"name": "dc", "cidr": "10.42.0.0/16", "block_mask": 29}],
    "topologies": [
        {
            "networks": ["dc"],
            "map": [
                {"name": "rack-1", "assignment": {"rack": "r1"}, "routing": "prefix-announce-bgp:tor1", "groups": []},
                {"name": "rack-2", "assignment": {"rack": "r2"}, "groups": [{"name": "odd"}, {"name": "even"}]},
                {"name": "rack-3", "assignment": {"rack": "r3"}, "groups": []},
            ],
        }
    ],
}


def groups(node: store_pb2.Node) -> list[str]:
    return [place.group_path for place in node.placements]


async def test_what_show_gives_can_be_applied_and_changes_nothing(store: Store) -> None:
    """W8."""
    async with running(store) as run:
        assert (await run.show()).document == b""
        first = await run.apply(RACKS)
        assert (first.generation, first.changed) == (1, True)
        shown = await run.show()
        assert shown.generation == 1
        again = await run.apply(shown.document)
        assert (again.generation, again.changed) == (1, False)
        assert (await run.show()).document == shown.document
        assert json.loads(shown.document)["networks"] == RACKS["networks"]
        assert again.revision >= first.revision


@pytest.mark.skipif(not EXAMPLES, reason="the reference layouts are not beside the repository")
@pytest.mark.parametrize("name", EXAMPLES)
async def test_reference_layout_comes_out_through_the_service(name: str, store: Store) -> None:
    example = EXAMPLES[name]
    async with running(store) as run:
        await run.apply(example["topology"])
        placed = []
        for number, node in enumerate(example["nodes"]):
            try:
                added = await run.add_node(node["name"], f"198.18.0.{number + 1}", labels=node["labels"])
                placed.append([{"path": p.group_path, "cidr": p.group_cidr} for p in added.node.placements])
            except Refused:
                placed.append([])
        assert placed == [entry["groups"] for entry in example["expected"]["placements"]]
        shown = (await run.show()).prefixes
        assert [{"network": p.network, "path": p.path, "name": p.name, "cidr": p.cidr, "pad": p.pad} for p in shown] == example[
            "expected"
        ]["prefixes"]


async def test_a_wrong_document_is_refused_with_every_fault_and_the_old_one_stays(store: Store) -> None:
    async with running(store) as run:
        await run.apply(RACKS)
        wrong = {
            "networks": [{"name": "dc", "cidr": "10.0.0.1/8"}, {"cidr": "x"}],
            "topologies": [{"networks": ["no"], "map": []}],
        }
        with pytest.raises(InvalidInput) as caught:
            await run.apply(wrong)
        assert len(caught.value.faults) >= 4
        checked = await run.check(wrong)
        assert not checked.ok
        assert [(f.path, f.message) for f in checked.faults] == [(f.path, f.message) for f in caught.value.faults]
        assert (await run.show()).generation == 1


async def test_check_says_what_apply_would_and_changes_nothing(store: Store) -> None:
    async with running(store) as run:
        await run.apply(RACKS)
        await run.add_node("a1", labels={"rack": "r1"})
        await run.ip("a1", "c1")
        before = await store.list("")
        moved = json.loads(json.dumps(RACKS).replace("r1", "r9"))
        checked = await run.check(moved)
        assert not checked.ok
        assert any("10.42.0.0/29" in line for line in checked.refusals)
        assert checked.prefixes[0].cidr == "10.42.0.0/18"
        fine = await run.check(RACKS)
        assert fine.ok
        assert list(fine.prefixes[0].nodes) == ["a1"]
        assert [item for item in (await store.list("")).items if item not in before.items and "blocks/" not in item.key] == []


async def test_a_change_that_strands_a_block_is_refused_with_the_reason_and_the_old_one_stays(store: Store) -> None:
    """I12, S12."""
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/16", 29))
        await run.add_node("n1")
        await run.ip("n1", "c1")
        for document in (flat("10.41.0.0/16", 29), flat("10.40.0.0/16", 28), flat("10.40.0.0/16", 29, "other")):
            with pytest.raises(Refused, match=r"block 10\.40\.0\.0/29 of node n1"):
                await run.apply(document)
        assert (await run.apply(flat("10.40.0.0/15", 29))).changed
        assert await run.ip("n1", "c2") == "10.40.0.1"
        assert await faults(store) == []


async def test_w5_a_refused_change_leaves_allocation_nodes_and_reservations_as_they_were(store: Store) -> None:
    """Romana's changed its memory before success, and lost blackouts and the nodes that were added later."""
    document = flat()
    document["networks"][0]["reserved"] = ["10.40.0.1/32"]
    async with running(store) as run:
        await run.apply(document)
        await run.add_node("n1")
        assert await run.ip("n1", "c1") == "10.40.0.0"
        before = (await run.show(), await run.nodes())
        with pytest.raises(Refused):
            await run.apply(flat("10.41.0.0/16"))
        shown, nodes = await run.show(), await run.nodes()
        assert (shown.document, shown.generation, nodes.nodes) == (before[0].document, 1, before[1].nodes)
        await run.add_node("n2")
        assert [await run.ip("n1", "c2"), (await run.ip("n2", "c3"))[:7]] == ["10.40.0.2", "10.40.0"]


async def test_w4_every_held_address_has_a_block_with_an_owner_after_changes(store: Store) -> None:
    """Romana's left blocks with addresses and without owner, and so without a route."""
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        ip = await run.ip("n1", "c1")
        for cidr in ("10.40.0.0/15", "10.40.0.0/14"):
            await run.apply(flat(cidr))
            block = next(row.value for row in run.ipamd.state.blocks.rows.values() if ip_address(ip) in row.value.cidr)
            assert (block.node, block.node_uid) == ("n1", (await run.node("n1")).node.uid)
        assert await faults(store) == []


async def test_blocks_with_live_addresses_refuse_another_owner_and_others_are_given_back(store: Store) -> None:
    tenants = flat()
    tenants["networks"][0]["owner"] = "tenant"
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: cidrs(run))
        assert (await run.plan(tenants)).given_back
        await run.ip("n1", "c1")
        with pytest.raises(Refused, match="makes blocks of owner tenant; this one is of owner node"):
            await run.apply(tenants)


async def test_held_addresses_refuse_to_be_reserved_by_the_document(store: Store) -> None:
    document = flat()
    async with running(store) as run:
        await run.apply(document)
        await run.add_node("n1")
        await run.ip("n1", "c1")
        document["networks"][0]["reserved"] = ["10.40.0.0/30"]
        with pytest.raises(Refused, match=r"would reserve addresses that are held: 1, the lowest 10\.40\.0\.0"):
            await run.apply(document)
        document["networks"][0]["reserved"] = ["10.40.0.4/30"]
        assert (await run.apply(document)).changed


def cidrs(run: Running) -> list[str]:
    return sorted(str(row.value.cidr) for row in run.ipamd.state.blocks.rows.values())


async def test_blocks_ahead_do_not_stand_in_the_way_of_another_prefix_size_or_network(store: Store) -> None:
    """And nodes get others, as ever."""
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/16", 29))
        await run.add_node("n1")
        await run.add_node("n2")
        await until(lambda: cidrs(run) == ["10.40.0.0/29", "10.40.0.8/29"])
        for document, expected in (
            (flat("10.41.0.0/16", 29), ["10.41.0.0/29", "10.41.0.8/29"]),
            (flat("10.41.0.0/16", 28), ["10.41.0.0/28", "10.41.0.16/28"]),
            (flat("10.41.0.0/16", 29), ["10.41.0.0/29", "10.41.0.8/29"]),
            (flat("10.41.0.0/16", 29, "other"), ["10.41.0.0/29", "10.41.0.8/29"]),
        ):
            before = cidrs(run)
            checked = await run.check(document)
            assert (checked.ok, list(checked.refusals)) == (True, [])
            assert sorted(line.split()[1] for line in checked.given_back) == before
            assert cidrs(run) == before
            assert (await run.apply(document)).changed
            await until(lambda expected=expected: cidrs(run) == expected)  # type: ignore[misc]
            assert await faults(store) == []
        assert await run.ip("n1", "c1") in {"10.41.0.0", "10.41.0.8"}


async def test_cooling_addresses_refuse_a_change_and_cooled_ones_go_with_their_block(store: Store) -> None:
    clock = Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        await run.apply(flat("10.40.0.0/16", 29))
        await run.add_node("n1")
        await run.ip("n1", "c1")
        await run.ip("n1", "c2")
        await run.release("n1", "c1")
        moved = flat("10.41.0.0/16", 29)
        with pytest.raises(Refused, match=r"block 10\.40\.0\.0/29 of node n1 in network pods: .* 1 held, 1 cooling"):
            await run.apply(moved)
        clock.now_s += 20
        await run.release("n1", "c2")
        clock.now_s += 11
        with pytest.raises(Refused, match="0 held, 1 cooling"):
            await run.apply(moved)
        checked = await run.check(moved)
        assert (checked.ok, list(checked.given_back)) == (False, [])
        clock.now_s += 20
        assert (await run.apply(moved)).changed
        assert (await store.list(keys.ADDRESSES)).items == ()
        assert await run.ip("n1", "c3") == "10.41.0.0"
        assert await faults(store) == []


async def test_many_cooled_addresses_of_some_blocks_go_before_the_change(store: Store) -> None:
    """One group's block stays for its pod, so the network does not go whole."""
    clock = Clock()
    document = flat("10.40.0.0/16", 24)
    document["topologies"][0]["map"] = [{"name": "a", "assignment": {"r": "a"}}, {"name": "b", "assignment": {"r": "b"}}]
    async with running(store, cooldown_s=1, clock=clock) as run:
        await run.apply(document)
        await run.add_node("n1", labels={"r": "a"})
        await run.add_node("n2", labels={"r": "b"})
        await run.ip("n1", "stays")
        await asyncio.gather(*(run.ip("n2", f"c{i}") for i in range(150)))
        await asyncio.gather(*(run.release("n2", f"c{i}") for i in range(150)))
        clock.now_s += 2
        document["topologies"][0]["map"].insert(1, {"name": "new", "assignment": {"r": "x"}})
        document["topologies"][0]["map"].insert(1, {"name": "newer", "assignment": {"r": "y"}})
        assert (await run.apply(document)).changed
        assert [item.key for item in (await store.list(keys.ADDRESSES)).items] == ["addresses/pods/10.40.0.0"]
        assert await run.ip("n2", "c") == "10.40.192.0"
        assert await faults(store) == []


async def test_a_network_without_live_addresses_goes_whole_however_many_nodes_have_blocks_of_it(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/16", 29))
        for number in range(130):
            await run.add_node(f"n{number}")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 130)
        document = flat("10.40.0.0/16", 29)
        document["topologies"][0]["map"] = [{"name": "one"}, {"name": "two"}]
        assert (await run.apply(document)).changed  # all stay in the first group's half
        await until(lambda: len(run.ipamd.state.blocks.rows) == 130)
        assert (await run.apply(flat("10.60.0.0/16", 29))).changed
        await until(lambda: len(run.ipamd.state.blocks.rows) == 130)
        assert all(cidr.startswith("10.60.") for cidr in cidrs(run))
        assert await faults(store) == []


async def test_more_single_blocks_in_the_way_than_a_transaction_holds_are_refused_and_say_how(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/16", 29))
        await run.add_node("live")
        await run.ip("live", "c1")
        for number in range(101):
            await run.add_node(f"n{number}", f"198.18.77.{number}")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 102)
        shrunk = flat("10.40.0.0/29", 29)
        with pytest.raises(Refused, match=r"101 blocks and 0 whole networks .* change fewer groups"):
            await run.apply(shrunk)
        assert "change fewer groups" in (await run.check(shrunk)).refusals[0]
        assert await faults(store) == []


async def test_allocations_and_a_change_of_prefix_at_once_on_two_ipamd_never_strand_an_address(store: Store) -> None:
    """Either is first: the change is refused for the address, or the address is of the new prefix."""
    async with running(store, cooldown_s=0) as one, running(store, cooldown_s=0) as two:
        await one.apply(flat("10.40.0.0/16", 29))
        for number in range(4):
            await one.add_node(f"n{number}")
        for turn in range(1, 13):
            change = asyncio.create_task(one.apply(flat(f"10.{40 + turn}.0.0/16", 29)))
            names = [f"n{number}" for number in range(turn % 4 + 1)]
            await asyncio.gather(*(two.ip(name, f"c{turn}") for name in names))
            (outcome,) = await asyncio.gather(change, return_exceptions=True)
            assert isinstance(outcome, Refused) or not isinstance(outcome, BaseException), outcome
            assert await faults(store) == []
            for name in names:
                await two.release(name, f"c{turn}")


async def test_a_network_over_a_nodes_own_address_is_refused(store: Store) -> None:
    async with running(store) as run:
        await run.add_node("n1", "10.40.3.3")
        with pytest.raises(Refused, match=r"covers 10.40.3.3, which is node n1's own address"):
            await run.apply(flat())
        await run.apply(flat("10.41.0.0/16"))
        with pytest.raises(Refused, match="lies in network pods"):
            await run.add_node("n2", "10.41.3.3")


async def test_nodes_added_before_any_topology_are_placed_by_apply(store: Store) -> None:
    async with running(store) as run:
        names = ["a1", "b1", "b2", "b3", "x1"]
        for number, name in enumerate(names):
            labels = {"rack": {"a": "r1", "b": "r2", "x": "r9"}[name[0]]}
            assert groups((await run.add_node(name, f"198.18.9.{number}", labels=labels)).node) == []
        await run.apply(RACKS)
        placed = {node.name: groups(node) for node in (await run.nodes()).nodes}
        assert placed == {"a1": ["dc/0"], "b1": ["dc/1/0"], "b2": ["dc/1/1"], "b3": ["dc/1/0"], "x1": []}


async def test_more_nodes_than_a_transaction_holds_are_all_placed(store: Store) -> None:
    async with running(store) as run:
        for number in range(230):
            await run.add_node(f"n{number}")
        await run.apply(flat())
        assert {tuple(groups(node)) for node in (await run.nodes()).nodes} == {("pods",)}
        assert await run.ip("n229", "c1")
        assert await faults(store) == []


async def test_blocks_of_nodes_are_claimed_ahead_and_shown(store: Store) -> None:
    async with running(store) as run:
        await run.apply(RACKS)
        await run.add_node("a1", labels={"rack": "r1"})
        await until(lambda: run.ipamd.state.blocks.rows)
        node = await run.node("a1")
        assert [(block.network, block.cidr, block.held, block.free) for block in node.blocks] == [("dc", "10.42.0.0/29", 0, 8)]
        first = (await run.show()).prefixes[0]
        assert (first.blocks_owned, first.blocks_total, list(first.nodes)) == (1, 2048, ["a1"])
        assert dict(first.assignment) == {"rack": "r1"}
        for i in range(6):
            await run.ip("a1", f"c{i}")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 2)  # three quarters full
        assert [block.cidr for block in (await run.node("a1")).blocks] == ["10.42.0.0/29", "10.42.0.8/29"]


async def test_nodes_of_a_group_that_have_no_block_are_counted(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/28", 30))
        for number in range(1, 6):
            await run.add_node(f"n{number}")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 4 and not run.ipamd.state.uneven)
        assert run.ipamd.state.bare_nodes("pods", "pods") == 1
        assert sorted([len((await run.node(f"n{number}")).blocks) for number in range(1, 6)]) == [0, 1, 1, 1, 1]


async def test_add_node_is_idempotent_and_makes_a_uid_when_none_is_given(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        first = await run.add_node("n1", labels={"a": "b"})
        assert first.changed
        assert len(first.node.uid) == 36
        again = await run.add_node("n1", labels={"a": "b"})
        assert (again.changed, again.node) == (False, first.node)
        assert not (await run.add_node("n1", uid=first.node.uid, labels={"a": "b"})).changed
        changed = await run.add_node("n1", "198.18.200.1", labels={"a": "c"})
        assert changed.changed
        assert (changed.node.uid, list(changed.node.addresses)) == (first.node.uid, ["198.18.200.1"])
        assert (await run.node("n1")).node == changed.node


async def test_another_incarnation_of_a_node_is_refused_until_the_old_one_is_removed(store: Store) -> None:
    """I9, S6."""
    async with running(store) as run:
        await run.add_node("n1", uid="old")
        with pytest.raises(Refused, match="another incarnation"):
            await run.add_node("n1", uid="new")


async def test_an_address_of_another_node_is_refused(store: Store) -> None:
    async with running(store) as run:
        await run.add_node("n1", "192.0.2.1", "2001:db8::1")
        for text in ("192.0.2.1", "2001:DB8:0::1"):
            with pytest.raises(Refused, match="node n1's already"):
                await run.add_node("n2", text)
        assert (await run.add_node("n1", "192.0.2.1")).changed


async def test_a_node_that_no_group_takes_is_refused_naming_what_it_lacks(store: Store) -> None:
    async with running(store) as run:
        await run.apply(RACKS)
        with pytest.raises(Refused, match="rack=r1") as caught:
            await run.add_node("x1", labels={"rack": "r9"})
        assert len(caught.value.faults) == 4
        with pytest.raises(NotFound):
            await run.node("x1")


async def test_labels_that_do_not_move_a_node_may_change(store: Store) -> None:
    async with running(store) as run:
        await run.apply(RACKS)
        await run.add_node("a1", labels={"rack": "r1"})
        changed = await run.add_node("a1", labels={"rack": "r1", "zone": "z"})
        assert changed.changed
        assert groups(changed.node) == ["dc/0"]
        assert not changed.pending


async def test_every_wrong_field_of_a_node_is_named(store: Store) -> None:
    async with running(store) as run:
        request = node_pb2.AddNodeRequest(
            name="Node_1",
            uid="a b",
            addresses=["192.0.2.1", "192.0.2.2", "nonsense", "::ffff:192.0.2.3", "127.0.0.1"],
            labels={"a b": "ok", "ok": "not/ok"},
        )
        with pytest.raises(InvalidInput) as caught:
            await run.topology(lambda stub, left: stub.AddNode(request, timeout=left))
        paths = [fault.path for fault in caught.value.faults]
        assert paths == ["name", "uid", *(f"addresses[{i}]" for i in range(1, 5)), "labels", "labels[ok]"]
        with pytest.raises(InvalidInput, match="addresses: is empty"):
            await run.topology(lambda stub, left: stub.AddNode(node_pb2.AddNodeRequest(name="n1"), timeout=left))


async def test_nodes_are_listed_by_name_and_an_unknown_one_is_not_found(store: Store) -> None:
    async with running(store) as run:
        for name in ("n2", "n10", "n1"):
            await run.add_node(name)
        assert [node.name for node in (await run.nodes()).nodes] == ["n1", "n10", "n2"]
        with pytest.raises(NotFound, match="no key nodes/n9"):
            await run.node("n9")


async def test_two_ipamd_that_add_nodes_at_once_fill_groups_evenly(store: Store) -> None:
    async with running(store) as one, running(store) as two:
        await one.apply(RACKS)
        added = await asyncio.gather(
            *((one, two)[i % 2].add_node(f"b{i}", labels={"rack": "r2"}) for i in range(20)),
            *((one, two)[i % 2].add_node("same", "198.18.99.1", labels={"rack": "r1"}) for i in range(4)),
        )
        assert len({answer.node.uid for answer in added if answer.node.name == "same"}) == 1
        placed = [groups(node)[0] for node in (await two.nodes()).nodes if node.name != "same"]
        assert (placed.count("dc/1/0"), placed.count("dc/1/1")) == (10, 10)
        assert await faults(store) == []


async def test_two_ipamd_that_apply_at_once_agree_on_one_topology(store: Store) -> None:
    async with running(store) as one, running(store) as two:
        documents = [flat("10.40.0.0/16", 24 + i) for i in range(4)]
        answers = await asyncio.gather(*((one, two)[i % 2].apply(document) for i, document in enumerate(documents)))
        assert sorted(answer.generation for answer in answers) == [1, 2, 3, 4]
        assert (await one.show()).document == (await two.show()).document


async def _storm(run: Running, node: str, count: int) -> None:
    await asyncio.gather(*(run.ip(node, f"{node}-{i}") for i in range(count)))


async def test_changes_of_block_size_in_a_storm_of_claims_never_make_blocks_overlap(store: Store) -> None:
    """I3 (calico#8446, #10778): a change is refused or comes before the first claim, never between."""
    async with running(store) as one, running(store) as two:
        await one.apply(flat("10.40.0.0/22", 29))
        for number in range(1, 7):
            await one.add_node(f"n{number}")
        sizes = [asyncio.create_task(run.apply(flat("10.40.0.0/22", mask))) for run in (one, two) for mask in (28, 29, 30)]
        await asyncio.gather(*(_storm((one, two)[n % 2], f"n{n}", 20) for n in range(1, 7)))
        outcomes = await asyncio.gather(*sizes, return_exceptions=True)
        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException) and not isinstance(outcome, Refused)] == []
        assert await faults(store) == []
        assert len((await store.list(keys.ATTACHMENTS)).items) == 120
