"""What a new document may do to nodes and blocks that are there."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ipam.topology.carving import Prefix, carve
from ipam.topology.change import Change, OwnedBlock, PlacedNode, plan_change
from ipam.topology.placement import Placements, place
from ipam.topology.reading import read_document


def layout(map_yaml: str, cidr: str = "10.0.0.0/16", block_mask: int = 29, network: str = "a") -> tuple[Prefix, ...]:
    written = f"networks: [{{name: {network}, cidr: {cidr}, block_mask: {block_mask}}}]\n"
    return carve(read_document(f"{written}topologies: [{{networks: [{network}], map: {map_yaml}}}]".encode()))


TWO = "[{name: r1, assignment: {rack: r1}}, {name: r2, assignment: {rack: r2}}]"
OLD = layout(TWO)


def node(name: str, labels: dict[str, str], old: tuple[Prefix, ...] = OLD) -> PlacedNode:
    return PlacedNode(name, f"uid-{name}", labels, place(old, name, labels, {}))


def block(cidr: str, owner: str = "n1", network: str = "a", held: int = 1, cooling: int = 0) -> OwnedBlock:
    return OwnedBlock(network, ip_network(cidr), owner, f"uid-{owner}", held, cooling)


def empty(cidr: str, owner: str = "n1") -> OwnedBlock:
    return block(cidr, owner, held=0)


N1 = node("n1", {"rack": "r1"})
N2 = node("n2", {"rack": "r2"})


def paths(placements: Placements) -> list[str]:
    return [f"{placement.path} {placement.cidr}" for placement in placements]


def test_same_document_changes_nothing() -> None:
    change = plan_change(OLD, [N1, N2], [block("10.0.0.0/29"), block("10.0.128.0/29", "n2")])
    assert change == Change({"n1": N1.placements, "n2": N2.placements}, ())


def test_first_document_places_the_nodes_that_are_there() -> None:
    nodes = [PlacedNode(f"n{i}", f"u{i}", {}, ()) for i in range(3)]
    change = plan_change(layout("[{name: x}, {name: y}]"), nodes, [])
    assert [paths(change.placements[node.name])[0][:3] for node in nodes] == ["a/0", "a/1", "a/0"]


REFUSED: dict[str, tuple[tuple[Prefix, ...], list[OwnedBlock], list[str]]] = {
    "network gone": (layout(TWO, network="b"), [block("10.0.0.0/29")], ["block 10.0.0.0/29 of node n1", "network is gone"]),
    "outside": (layout(TWO, cidr="10.1.0.0/16"), [block("10.0.0.0/29")], ["lies in no group"]),
    "block size": (layout(TWO, block_mask=28), [block("10.0.0.0/29")], ["blocks of /28"]),
    "block wider than the leaf": (layout("[{name: x}, {name: y}]", "10.0.0.0/28"), [block("10.0.0.0/28")], ["no group"]),
    "pad": (layout("[{name: x}, {name: y}, {name: z}]"), [block("10.0.192.0/29")], ["a/3 (10.0.192.0/18), which stays empty"]),
    "wrong rack": (layout(TWO), [block("10.0.128.0/29")], ["would lie in a/1 (r2): needs rack=r2 (the node has rack=r1)"]),
    "two groups": (
        layout("[{name: x}, {name: y}]"), [block("10.0.0.0/29"), block("10.0.128.0/29")],
        ["node n1 would have blocks in several groups", "10.0.0.0/29 in a/0 and 10.0.128.0/29 in a/1"],
    ),
    "owner that is no more": (layout(TWO, block_mask=28), [block("10.0.0.0/29", "gone")], ["node gone"]),
    "no group left": (layout("[{name: r9, assignment: {rack: r9}}]"), [], ["node n1 would stand in no group", "needs rack=r9"]),
}  # fmt: skip


@pytest.mark.parametrize(("new", "blocks", "parts"), REFUSED.values(), ids=REFUSED.keys())
def test_change_is_refused_and_says_what_stands_in_the_way(
    new: tuple[Prefix, ...], blocks: list[OwnedBlock], parts: list[str]
) -> None:
    refusals = "\n".join(plan_change(new, [N1], blocks).refusals)
    assert refusals
    assert all(part in refusals for part in parts), refusals


@pytest.mark.parametrize(("new", "blocks"), [case[:2] for name, case in REFUSED.items() if name != "no group left"])
def test_blocks_without_live_addresses_are_given_back_instead(new: tuple[Prefix, ...], blocks: list[OwnedBlock]) -> None:
    blocks = [replace(block, held=0) for block in blocks]
    change = plan_change(new, [N1], blocks)
    assert (change.refusals, len(change.given_back)) == ((), 1)
    assert set(change.given_back) <= set(blocks)
    stay = [block for block in blocks if block not in change.given_back]
    assert plan_change(new, [N1], stay) == Change(change.placements, ())


def test_one_cooling_address_keeps_a_block_and_is_counted_in_the_refusal() -> None:
    change = plan_change(layout(TWO, cidr="10.1.0.0/16"), [N1], [block("10.0.0.0/29", held=0, cooling=1), empty("10.0.0.8/29")])
    (line,) = change.refusals
    assert "10.0.0.0/29" in line
    assert "0 held, 1 cooling" in line
    assert change.given_back == ()


def test_a_node_stays_where_its_live_addresses_are_and_gives_the_other_groups_blocks_back() -> None:
    blocks = [empty("10.0.0.0/29"), block("10.0.128.0/29"), empty("10.0.128.8/29"), empty("10.0.0.8/29")]
    change = plan_change(layout("[{name: r1}, {name: y}]"), [N1], blocks)
    assert (paths(change.placements["n1"]), change.refusals) == (["a/1 10.0.128.0/17"], ())
    assert [str(block.cidr) for block in change.given_back] == ["10.0.0.0/29", "10.0.0.8/29"]


def test_without_live_addresses_a_node_stays_in_the_group_that_is_most_like_its_old() -> None:
    change = plan_change(layout("[{name: x}, {name: r1}]"), [N1], [empty("10.0.0.0/29"), empty("10.0.128.0/29")])
    assert paths(change.placements["n1"]) == ["a/1 10.0.128.0/17"]
    assert [str(block.cidr) for block in change.given_back] == ["10.0.0.0/29"]


def test_block_of_a_node_that_is_no_more_may_stay_in_a_leaf() -> None:
    assert plan_change(OLD, [N1], [block("10.0.128.0/29", "gone")]).refusals == ()


def test_uid_owns_not_the_name() -> None:
    other = OwnedBlock("a", ip_network("10.0.128.0/29"), "n1", "an earlier incarnation")
    assert plan_change(OLD, [N1], [other]).refusals == ()


def test_blocks_bind_a_node_to_their_leaf_whatever_its_name() -> None:
    change = plan_change(layout("[{name: x}, {name: r1}]"), [N1], [block("10.0.0.0/29")])
    assert (paths(change.placements["n1"]), change.refusals) == (["a/0 10.0.0.0/17"], ())


def test_without_blocks_a_node_follows_its_group_by_name() -> None:
    change = plan_change(layout("[{name: x}, {name: r1}, {name: z}]"), [N1], [])
    assert paths(change.placements["n1"]) == ["a/1 10.0.64.0/18"]


def test_without_blocks_a_renamed_group_keeps_its_nodes_by_prefix() -> None:
    change = plan_change(layout("[{name: x}, {name: y}]"), [node("n1", {"rack": "r2"})], [])
    assert paths(change.placements["n1"]) == ["a/1 10.0.128.0/17"]


def test_new_network_is_added_beside_the_old_one() -> None:
    both = OLD + layout("[{name: x}, {name: y}]", "10.9.0.0/16", network="b")
    change = plan_change(both, [N1, N2], [block("10.0.0.0/29")])
    assert paths(change.placements["n1"]) == ["a/0 10.0.0.0/17", "b/0 10.9.0.0/17"]
    assert paths(change.placements["n2"]) == ["a/1 10.0.128.0/17", "b/1 10.9.128.0/17"]


def test_nodes_placed_anew_fill_up_what_the_kept_ones_leave() -> None:
    old = layout("[{name: x}]")
    kept = [node(f"n{i}", {}, old) for i in range(3)]
    change = plan_change(layout("[{name: x}, {name: y}]"), [PlacedNode("m", "uid-m", {}, ()), *kept], [])
    assert [change.placements[name][0].name for name in ("m", "n0", "n1", "n2")] == ["y", "x", "x", "x"]


def test_refusals_are_bounded() -> None:
    blocks = [block(f"10.1.0.{8 * i}/29") for i in range(32)] + [block(f"10.2.0.{8 * i}/29") for i in range(32)]
    refusals = plan_change(OLD, [N1], blocks).refusals
    assert (len(refusals), refusals[-1]) == (33, "and 32 more")
