"""Weaknesses of Romana's topology and blocks that ours does not have; the table in docs/ipam.md names them all."""

import json
from ipaddress import IPv4Network
from typing import Any

import pytest

from ipam.blocks import Block, group_blocks
from ipam.topology.carving import carve
from ipam.topology.document import normalised
from ipam.topology.placement import place
from ipam.topology.reading import read_document
from romana.errors import InvalidInput

RACKS = [{"name": f"r{number}", "assignment": {"rack": f"r{number}"}, "groups": []} for number in range(3)]


def document(groups: list[Any], **network: Any) -> bytes:
    networks = [{"name": "a", "cidr": "10.0.0.0/24", **network}]
    return json.dumps({"networks": networks, "topologies": [{"networks": ["a"], "map": groups}]}).encode()


def test_w1_a_pad_never_attracts_a_node() -> None:
    prefixes = carve(read_document(document(RACKS)))
    (pad,) = [prefix for prefix in prefixes if prefix.pad]
    crowded = {("a", prefix.path): 1000 for prefix in prefixes if not prefix.pad}
    assert [placed.path for placed in place(prefixes, "n", {"rack": "r1"}, crowded)] == ["a/1"]
    assert place(prefixes, "n", {"rack": "r9"}, {}) == ()
    assert pad.path == "a/3"


def test_w2_freeing_below_several_free_ranges_loses_none_of_them() -> None:
    """Romana's free-range list lost all but the first: such a block never emptied, and its count was wrong."""
    block = Block(IPv4Network("10.0.0.0/29"))
    for number in range(5):
        block = block.with_held(block.ip(number))
    for number in (3, 1):
        block = block.without_address(block.ip(number))
    assert [number for number in range(8) if not block.held >> number & 1] == [1, 3, 5, 6, 7]
    given = []
    while (lowest := block.lowest_free()) is not None:
        given.append(lowest)
        block = block.with_held(block.ip(lowest))
    assert given == [1, 3, 5, 6, 7]


def test_w6_a_block_larger_than_its_leaf_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_document(document(RACKS, block_mask=25))
    assert [fault.path for fault in caught.value.faults] == ["topologies[0].map"]


def test_w6_the_last_block_of_a_leaf_ends_with_it() -> None:
    for prefix in carve(read_document(document(RACKS, block_mask=26))):
        if not prefix.pad:
            taken = group_blocks(prefix).lowest_free()
            assert taken == prefix.cidr
            assert group_blocks(prefix, [prefix.cidr]).lowest_free() is None


@pytest.mark.parametrize("tenants", [[], ["payments", "qa"]])
def test_w8_what_is_shown_can_be_applied_and_is_the_same(tenants: list[str]) -> None:
    first = read_document(document(RACKS, tenants=tenants))
    again = read_document(normalised(first))
    assert (again, normalised(again)) == (first, normalised(first))
    assert json.loads(normalised(first))["topologies"][0]["map"] == RACKS
