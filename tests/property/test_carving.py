"""Carving agrees with a model that counts addresses one by one, and a document survives its normal form."""

import json
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ipam.topology.carving import Prefix, carve
from ipam.topology.document import Group, normalised
from ipam.topology.placement import place
from ipam.topology.reading import read_document

NAMES = st.sampled_from([f"g{number}" for number in range(20)])
LEAF = st.builds(Group, NAMES)
TREES = st.lists(
    st.recursive(LEAF, lambda child: st.builds(
        lambda name, children: Group(name, groups=tuple(children)),
        NAMES, st.lists(child, min_size=1, max_size=5, unique_by=lambda group: group.name),
    ), max_leaves=12),
    min_size=1, max_size=5, unique_by=lambda group: group.name,
)  # fmt: skip
CIDRS = st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "fd00:10::/100"])

Named = tuple[str, str, str, bool]


def tree_of(group: Group) -> dict[str, Any]:
    return {"name": group.name, "groups": [tree_of(child) for child in group.groups]}


def laid_out(groups: list[Group], cidr: str, block_mask: int) -> tuple[Prefix, ...]:
    tree = {
        "networks": [{"name": "net", "cidr": cidr, "block_mask": block_mask}],
        "topologies": [{"networks": ["net"], "map": [tree_of(group) for group in groups]}],
    }
    return carve(read_document(json.dumps(tree).encode()))


def halved(cidrs: list[str], count: int) -> list[str]:
    """Equal parts of a range, by halving all of them until there are enough."""
    while len(cidrs) < count:
        cidrs = [str(half) for cidr in cidrs for half in ip_network(cidr).subnets()]
    return cidrs


def model(groups: list[Group], cidr: str, path: str) -> list[Named]:
    """The same rules, written in another way."""
    parts = halved([cidr], len(groups))
    rows: list[Named] = []
    for index, part in enumerate(parts):
        where = f"{path}/{index}"
        rows += [(where, where, part, True)] if index >= len(groups) else leaf_rows(groups[index], part, where)
    return rows


def leaf_rows(group: Group, cidr: str, path: str) -> list[Named]:
    return model(list(group.groups), cidr, path) if group.groups else [(path, group.name, cidr, False)]


@given(TREES, CIDRS)
def test_carving_agrees_with_halving(groups: list[Group], cidr: str) -> None:
    prefixes = laid_out(groups, cidr, 32 if "." in cidr else 128)
    expected = leaf_rows(groups[0], cidr, "net") if len(groups) == 1 else model(groups, cidr, "net")
    assert [(prefix.path, prefix.name, str(prefix.cidr), prefix.pad) for prefix in prefixes] == expected


@given(TREES, CIDRS)
def test_leaves_and_pads_are_the_network_and_overlap_nothing(groups: list[Group], cidr: str) -> None:
    prefixes = laid_out(groups, cidr, 32 if "." in cidr else 128)
    assert sum(prefix.cidr.num_addresses for prefix in prefixes) == ip_network(cidr).num_addresses
    four = [prefix.cidr for prefix in prefixes if isinstance(prefix.cidr, IPv4Network)]
    six = [prefix.cidr for prefix in prefixes if isinstance(prefix.cidr, IPv6Network)]
    assert [*collapse_addresses(four), *collapse_addresses(six)] == [ip_network(cidr)]
    assert all(prefix.cidr.prefixlen <= prefix.block_mask for prefix in prefixes)


LABELS = st.dictionaries(st.sampled_from(["rack", "zone"]), st.sampled_from(["1", "2"]))
NODES = st.lists(LABELS, max_size=12)


@given(st.lists(LABELS, min_size=1, max_size=5), NODES)
def test_placement_agrees_with_a_plain_search(groups: list[dict[str, str]], nodes: list[dict[str, str]]) -> None:
    leaves_of = [{"name": f"g{number}", "assignment": labels} for number, labels in enumerate(groups)]
    tree = {
        "networks": [{"name": "net", "cidr": "10.0.0.0/8"}],
        "topologies": [{"networks": ["net"], "map": leaves_of}],
    }
    document = read_document(json.dumps(tree).encode())
    assert read_document(normalised(document)) == document
    leaves = [prefix for prefix in carve(document) if not prefix.pad]
    inside = [0] * len(leaves)
    for number, labels in enumerate(nodes):
        counts = {("net", leaf.path): held for leaf, held in zip(leaves, inside, strict=True)}
        placed = place(carve(document), f"n{number}", labels, counts)
        fitting = [i for i, wanted in enumerate(groups) if wanted.items() <= labels.items()]
        best = sorted(fitting, key=lambda i: (inside[i], i))[:1]
        assert [placement.path for placement in placed] == [leaves[i].path for i in best]
        for i in best:
            inside[i] += 1
