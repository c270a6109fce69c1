"""Weaknesses of Romana's topology (reference, section 7) that ours does not have; the rest of them are beside what they touch."""

import json
from typing import Any

import pytest

from ipam.blocks import group_blocks
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
