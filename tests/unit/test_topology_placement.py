"""Where nodes go, and what a node is told that fits nowhere."""

import pytest

from ipam.topology.carving import Prefix, carve
from ipam.topology.placement import place, place_or_refuse
from ipam.topology.reading import read_document
from romana.errors import Refused


def prefixes(map_yaml: str, networks: str = "[{name: a, cidr: 10.0.0.0/16}]", names: str = "[a]") -> tuple[Prefix, ...]:
    written = f"networks: {networks}\ntopologies: [{{networks: {names}, map: {map_yaml}}}]"
    return carve(read_document(written.encode()))


SLOTS = """[{name: s, groups: [{name: h1, ip: 192.0.2.1}, {name: h2, ip: 192.0.2.2}]},
            {name: t, assignment: {rack: r9}, groups: [{name: h3, ip: 192.0.2.3}]}, {name: rest}]"""


def test_fewest_nodes_win_and_the_first_of_several() -> None:
    layout = prefixes("[{name: x}, {name: y}, {name: z}]")
    assert [p.path for p in place(layout, "n", {}, {("a", "a/0"): 2, ("a", "a/1"): 1, ("a", "a/2"): 1})] == ["a/1"]


def test_pads_take_nobody() -> None:
    layout = prefixes("[{name: x}, {name: y}, {name: z}]")
    assert layout[-1].pad
    assert [p.path for p in place(layout, "n", {}, {("a", f"a/{i}"): 9 for i in range(3)})] == ["a/0"]


def test_every_label_of_every_level_must_be_met() -> None:
    layout = prefixes("[{name: x, assignment: {zone: z1}, groups: [{name: y, assignment: {rack: r1, role: ''}}]}]")
    assert not place(layout, "n", {"rack": "r1", "zone": "z1"}, {})
    assert [p.path for p in place(layout, "n", {"rack": "r1", "zone": "z1", "role": "", "os": "x"}, {})] == ["a/0"]


@pytest.mark.parametrize(("node", "path"), [("h1", "a/0"), ("h2", "a/0"), ("h3", "a/1"), ("other", "a/2")])
def test_listed_host_goes_to_its_leaf_and_nobody_else_does(node: str, path: str) -> None:
    assert [p.path for p in place(prefixes(SLOTS), node, {"rack": "r9"}, {("a", "a/2"): 9})] == [path]


def test_listed_host_is_placed_by_name_whatever_its_labels() -> None:
    assert [p.path for p in place(prefixes(SLOTS), "h3", {}, {})] == ["a/1"]


def test_node_may_be_in_one_network_and_absent_from_another() -> None:
    layout = carve(
        read_document(b"""
networks: [{name: a, cidr: 10.0.0.0/16}, {name: b, cidr: 10.1.0.0/16}]
topologies:
- {networks: [a], map: [{name: x, assignment: {gpu: "yes"}}]}
- {networks: [b], map: [{name: y}]}
""")
    )
    assert [p.network for p in place(layout, "n", {}, {})] == ["b"]
    assert [p.network for p in place(layout, "n", {"gpu": "yes"}, {})] == ["a", "b"]


def test_refusal_says_for_each_group_what_is_missing() -> None:
    layout = prefixes("[{name: x, assignment: {rack: r1, zone: z}}, {name: y, groups: [{name: h1, ip: 192.0.2.1}]}]")
    with pytest.raises(Refused) as caught:
        place_or_refuse(layout, "n7", {"rack": "r2"}, {})
    assert "n7 (labels rack=r2)" in str(caught.value)
    assert [(fault.path, fault.message) for fault in caught.value.faults] == [
        ("a/0 (x)", "needs rack=r1 (the node has rack=r2), zone=z (the node has no such label)"),
        ("a/1 (y)", "takes only the hosts that it lists: h1"),
    ]


def test_refusal_is_bounded() -> None:
    layout = prefixes("[" + ", ".join(f"{{name: g{n}, assignment: {{rack: r{n}}}}}" for n in range(100)) + "]")
    with pytest.raises(Refused) as caught:
        place_or_refuse(layout, "n", {}, {})
    assert len(caught.value.faults) == 33
    assert caught.value.faults[-1].message == "and 68 more groups that do not take it"


def test_without_a_topology_the_refusal_says_so() -> None:
    with pytest.raises(Refused, match="apply one first"):
        place_or_refuse((), "n", {}, {})
