"""Reference layouts come out exactly: Romana's examples E1, E2, E3 and E5, and the shapes of its shipped topologies."""

import json
from pathlib import Path
from typing import Any

import pytest

from ipam.topology.carving import Prefix, blocks_total, carve, fixed_hosts
from ipam.topology.document import normalised
from ipam.topology.placement import Placements, place
from ipam.topology.reading import read_document

SHARED = Path(__file__).parents[2].parent / "shared" / "topologies"
EXAMPLES = sorted(SHARED.glob("e*.json"))


def laid_out(topology: dict[str, Any]) -> tuple[Prefix, ...]:
    return carve(read_document(json.dumps(topology).encode()))


def place_all(prefixes: tuple[Prefix, ...], nodes: list[tuple[str, dict[str, str]]]) -> list[Placements]:
    counts: dict[tuple[str, str], int] = {}
    placed = []
    for name, labels in nodes:
        placed.append(place(prefixes, name, labels, counts))
        for placement in placed[-1]:
            counts[placement.network, placement.path] = counts.get((placement.network, placement.path), 0) + 1
    return placed


@pytest.mark.skipif(not EXAMPLES, reason="the reference layouts are not beside the repository; own ones below stay")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_reference_layout_comes_out_exactly(path: Path) -> None:
    example = json.loads(path.read_text())
    prefixes = laid_out(example["topology"])
    shown = [{"network": p.network, "path": p.path, "name": p.name, "cidr": str(p.cidr), "pad": p.pad} for p in prefixes]
    assert shown == example["expected"]["prefixes"]
    placed = place_all(prefixes, [(node["name"], node["labels"]) for node in example["nodes"]])
    shown_groups = [[{"path": p.path, "cidr": str(p.cidr)} for p in placements] for placements in placed]
    assert shown_groups == [entry["groups"] for entry in example["expected"]["placements"]]


@pytest.mark.skipif(not EXAMPLES, reason="the reference layouts are not beside the repository; own ones below stay")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_reference_document_can_be_applied_as_it_was_got(path: Path) -> None:
    document = read_document(json.dumps(json.loads(path.read_text())["topology"]).encode())
    assert read_document(normalised(document)) == document
    assert normalised(read_document(normalised(document))) == normalised(document)


RACKS = """
networks: [{name: dc, cidr: 10.42.0.0/16}]
topologies:
- networks: [dc]
  map:
  - {name: rack-1, assignment: {rack: r1}, routing: "block-host-routes, prefix-announce-bgp:tor1", groups: []}
  - name: rack-2
    assignment: {rack: r2}
    routing: prefix-announce-bgp:tor2
    groups:
    - {name: odd, groups: []}
    - {name: even, routing: block-host-routes, assignment: {half: even}}
  - {name: rack-3, assignment: {rack: r3}}
"""


def test_children_inherit_assignment_and_the_nearest_routing() -> None:
    rack_1, odd, even, rack_3, pad = carve(read_document(RACKS.encode()))
    assert (odd.path, str(odd.cidr), odd.assignment) == ("dc/1/0", "10.42.64.0/19", (("rack", "r2"),))
    assert (odd.routing, str(odd.routing_cidr)) == ("prefix-announce-bgp:tor2", "10.42.64.0/18")
    assert (even.routing, str(even.routing_cidr)) == ("block-host-routes", "10.42.96.0/19")
    assert even.assignment == (("half", "even"), ("rack", "r2"))
    assert (rack_3.routing, rack_3.routing_cidr) == ("", None)
    assert rack_1.routing == "block-host-routes,prefix-announce-bgp:tor1"
    assert (pad.path, pad.name, pad.pad, pad.assignment, pad.routing) == ("dc/3", "dc/3", True, (), "")
    assert (blocks_total(rack_1), blocks_total(pad)) == (2048, 0)


def test_eight_groups_of_a_12_are_15s() -> None:
    groups = [{"name": f"host-group-{n:02}", "groups": []} for n in range(1, 9)]
    prefixes = laid_out(
        {"networks": [{"name": "kubeadm-network", "cidr": "10.112.0.0/12", "block_mask": 29}],
         "topologies": [{"networks": ["kubeadm-network"], "map": groups}]}
    )  # fmt: skip
    assert [str(prefix.cidr) for prefix in prefixes] == [f"10.{112 + 2 * n}.0.0/15" for n in range(8)]


def test_group_names_of_romanas_kops_files_load() -> None:
    zone = {"failure-domain.beta.kubernetes.io/zone": "us-east-1a"}
    group = {"name": "failure-domain: us-east-1a", "groups": [{"name": "g-01", "groups": [], "assignment": zone}]}
    (prefix,) = laid_out(
        {"networks": [{"name": "kops-network", "cidr": "100.72.0.0/13"}],
         "topologies": [{"networks": ["kops-network"], "map": [group]}]}
    )  # fmt: skip
    assert (prefix.path, str(prefix.cidr)) == ("kops-network/0", "100.72.0.0/13")


def test_ipv6_carves_like_ipv4() -> None:
    first, second, third, pad = laid_out(
        {"networks": [{"name": "six", "cidr": "FD00:10:0::/48"}],
         "topologies": [{"networks": ["six"], "map": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}]}
    )  # fmt: skip
    assert [str(p.cidr) for p in (first, second, third, pad)] == [
        "fd00:10::/50", "fd00:10:0:4000::/50", "fd00:10:0:8000::/50", "fd00:10:0:c000::/50"
    ]  # fmt: skip
    assert (first.block_mask, pad.pad) == (125, True)


def test_networks_come_in_the_order_of_the_document() -> None:
    prefixes = laid_out(
        {"networks": [{"name": n, "cidr": f"10.{i}.0.0/16"} for i, n in enumerate(["b", "a"])],
         "topologies": [{"networks": ["a"], "map": [{"name": "x"}]}, {"networks": ["b"], "map": [{"name": "y"}]}]}
    )  # fmt: skip
    assert [(prefix.network, prefix.name) for prefix in prefixes] == [("b", "y"), ("a", "x")]


def test_fixed_hosts_are_listed_once() -> None:
    leaf = {"name": "slot", "groups": [{"name": "h1", "ip": "192.0.2.11"}]}
    prefixes = laid_out(
        {"networks": [{"name": "a", "cidr": "10.1.0.0/16"}, {"name": "b", "cidr": "10.2.0.0/16"}],
         "topologies": [{"networks": ["a", "b"], "map": [leaf]}]}
    )  # fmt: skip
    assert [(host.name, str(host.ip)) for host in fixed_hosts(prefixes)] == [("h1", "192.0.2.11")]


@pytest.mark.parametrize("block_mask", [8, 29, 30, 31, 32])
def test_block_mask_is_written_out_even_when_it_is_the_default(block_mask: int) -> None:
    written = f"networks: [{{name: a, cidr: 10.0.0.0/8, block_mask: {block_mask}}}]\n"
    document = read_document((written + "topologies: [{networks: [a], map: [{name: x}]}]").encode())
    assert json.loads(normalised(document))["networks"][0]["block_mask"] == block_mask


def test_block_mask_defaults_to_29_or_the_networks_own_mask() -> None:
    written = "networks: [{name: a, cidr: 10.0.0.0/30}, {name: b, cidr: 10.1.0.0/16}]\n"
    document = read_document((written + "topologies: [{networks: [a, b], map: [{name: x}]}]").encode())
    assert [network.block_mask for network in document.networks] == [30, 29]


def test_weights_take_so_many_slots_in_the_order_of_the_document() -> None:
    document = {
        "networks": [{"name": "a", "cidr": "10.0.0.0/16"}],
        "topologies": [{"networks": ["a"], "map": [{"name": "x"}, {"name": "y", "weight": 2}, {"name": "z", "weight": 3}]}],
    }
    assert [(prefix.path, prefix.name, str(prefix.cidr), prefix.pad) for prefix in laid_out(document)] == [
        ("a/0", "x", "10.0.0.0/19", False),
        ("a/3", "a/3", "10.0.32.0/19", True),
        ("a/1", "y", "10.0.64.0/18", False),
        ("a/2", "z", "10.0.128.0/17", False),
    ]


def test_groups_stand_where_the_document_says_and_what_is_left_are_pads() -> None:
    groups = [{"name": "rack", "cidr": "10.0.192.0/18"}, {"name": "new", "cidr": "10.0.0.0/19"}]
    document = {
        "networks": [{"name": "a", "cidr": "10.0.0.0/16"}],
        "topologies": [{"networks": ["a"], "map": groups}],
    }
    assert [(prefix.path, str(prefix.cidr), prefix.pad) for prefix in laid_out(document)] == [
        ("a/1", "10.0.0.0/19", False),
        ("a/2", "10.0.32.0/19", True),
        ("a/3", "10.0.64.0/18", True),
        ("a/4", "10.0.128.0/18", True),
        ("a/0", "10.0.192.0/18", False),
    ]


def test_one_group_may_name_its_prefix_in_each_of_several_networks() -> None:
    group = {"name": "x", "cidr": ["10.1.128.0/17", "10.2.0.0/17"]}
    networks = [{"name": "a", "cidr": "10.1.0.0/16"}, {"name": "b", "cidr": "10.2.0.0/16"}]
    prefixes = laid_out({"networks": networks, "topologies": [{"networks": ["a", "b"], "map": [group]}]})
    assert [(prefix.path, str(prefix.cidr), prefix.pad) for prefix in prefixes] == [
        ("a/1", "10.1.0.0/17", True),
        ("a/0", "10.1.128.0/17", False),
        ("b/0", "10.2.0.0/17", False),
        ("b/1", "10.2.128.0/17", True),
    ]


def test_new_keys_survive_the_normal_form_and_are_left_out_where_they_say_nothing() -> None:
    network = {"name": "a", "cidr": "10.0.0.0/16", "block_mask": 29, "tenants": ["t"], "reserved": ["10.0.0.0/24"]}
    network |= {"owner": "tenant", "cooldown_s": 0, "dual": "b", "fallback": False}
    plain = {"name": "b", "cidr": "fd00:10::/48", "block_mask": 125}
    group = {"name": "x", "weight": 4, "groups": []}
    document = {
        "networks": [network, plain],
        "topologies": [{"networks": ["a"], "map": [group]}, {"networks": ["b"], "map": [{"name": "y", "groups": []}]}],
    }
    read = read_document(json.dumps(document).encode())
    assert json.loads(normalised(read)) == document
    assert read_document(normalised(read)) == read
