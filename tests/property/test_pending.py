"""Nodes whose labels changed are kept where they stand, whatever the layout, and can always go where their labels ask."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.nodes import placements_with
from ipam.records import NodeRecord, TopologyRecord
from ipam.topology.change import OwnedBlock, PlacedNode, plan_change
from ipam.topology.pending import moved, pending_moves
from ipam.topology.placement import Placements, place
from ipam.topology.reading import read_document
from ipam.topology.splitting import subprefix
from romana.errors import Refused, Unavailable

VALUES = ("", "r1", "r2", "r3")


@st.composite
def topologies(draw: st.DrawFn) -> TopologyRecord:
    """One or two networks of one to five groups, most of which ask for a rack."""
    networks = draw(st.integers(1, 2))
    topologies = []
    for number in range(networks):
        racks = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5))
        groups = [{"name": f"g{i}", "assignment": {"rack": rack} if rack else {}} for i, rack in enumerate(racks)]
        topologies.append({"networks": [f"n{number}"], "map": groups})
    document = {
        "networks": [{"name": f"n{number}", "cidr": f"10.{number}.0.0/16"} for number in range(networks)],
        "topologies": topologies,
    }
    return TopologyRecord.of(read_document(repr(document).replace("'", '"').encode()), 1)


def node(topology: TopologyRecord, rack: str) -> NodeRecord:
    labels = {"rack": rack} if rack else {}
    return NodeRecord("a1", "u1", (), tuple(labels.items()), place(topology.prefixes, "a1", labels, {}))


def relabelled(topology: TopologyRecord, old: NodeRecord, rack: str) -> NodeRecord | None:
    new = replace(old, labels=(("rack", rack),) if rack else ())
    try:
        return replace(new, placements=placements_with(topology, old, new, {}))
    except Refused:
        return None


def blocks_in(placements: Placements) -> list[OwnedBlock]:
    return [OwnedBlock(one.network, subprefix(one.cidr, 29, 0), "a1", "u1", held=1) for one in placements]


CASES = given(topologies(), st.sampled_from(VALUES), st.sampled_from(VALUES))


@CASES
def test_node_keeps_its_places_and_the_same_topology_leaves_it_there(topology: TopologyRecord, was: str, now: str) -> None:
    old = node(topology, was)
    new = relabelled(topology, old, now) if old.placements else None
    if new is None:
        return
    kept = {(one.network, one.path) for one in new.placements}
    assert {(one.network, one.path) for one in old.placements} <= kept
    assert topology.has_placed(new)
    assert all(topology.takes(new, one) for one in new.placements)
    planned = plan_change(
        topology.prefixes, [PlacedNode("a1", "u1", dict(new.labels), new.placements)], blocks_in(new.placements)
    )
    assert planned.refusals == ()
    assert set(planned.placements["a1"]) == set(new.placements)


@CASES
def test_node_whose_labels_come_back_is_as_it_was(topology: TopologyRecord, was: str, now: str) -> None:
    old = node(topology, was)
    new = relabelled(topology, old, now) if old.placements else None
    if new is not None:
        again = relabelled(topology, new, was)
        assert again is not None
        assert [one for one in again.placements if one in old.placements] == list(old.placements)
        assert not list(pending_moves(topology.candidates, "a1", dict(old.labels), old.placements, {}))


@CASES
def test_moved_node_stands_where_a_new_one_of_its_labels_would(topology: TopologyRecord, was: str, now: str) -> None:
    old = node(topology, was)
    new = relabelled(topology, old, now) if old.placements else None
    if new is None:
        return
    moves = list(pending_moves(topology.candidates, "a1", dict(new.labels), new.placements, {}))
    assert {move.before for move in moves} == {one for one in new.placements if one.kept}
    after = replace(new, placements=moved(new.placements, moves))
    assert topology.has_placed(after)
    assert not any(one.kept for one in after.placements)
    assert {one.network for one in after.placements} == {one.network for one in node(topology, now).placements}


def test_label_change_of_a_node_that_waits_to_be_placed_in_a_new_topology_waits_too() -> None:
    text = b"{networks: [{name: a, cidr: 10.0.0.0/16}], topologies: [{networks: [a], map: [{name: x}, {name: y}]}]}"
    topology = TopologyRecord.of(read_document(text), 2)
    waits = replace(node(topology, "r1"), placements=(replace(node(topology, "r1").placements[0], path="a"),))
    with pytest.raises(Unavailable, match="is being placed"):
        placements_with(topology, waits, replace(waits, labels=(("rack", "r2"),)), {})
    assert placements_with(topology, waits, waits, {}) == waits.placements
