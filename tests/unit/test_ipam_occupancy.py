"""What the index makes of news that come in another order than things happened: the watches of blocks and addresses are two."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from ipam.occupancy import Occupancy
from ipam.records import AddressRecord, AttachmentId, BlockRecord, NodeRecord
from ipam.table import Row
from ipam.topology.carving import Prefix
from ipam.topology.placement import placement_in

LEAF = Prefix("pods", "pods", "all", IPv4Network("10.0.0.0/28"), pad=False, block_mask=30)
CIDR = IPv4Network("10.0.0.0/30")
NODE = NodeRecord("n1", "u1", (), (), (placement_in(LEAF),))
BLOCK = Row("blocks/pods/10.0.0.0_30", BlockRecord("pods", CIDR, "n1", "u1"), 2, 2)


def address(released_ms: int | None) -> Row[AddressRecord]:
    holder = AttachmentId("n1", "c", "c1", "eth0")
    record = AddressRecord("pods", IPv4Address("10.0.0.1"), CIDR, holder, None, 1, released_ms, 30)
    return Row("addresses/pods/10.0.0.1", record, 3, 3)


@pytest.mark.parametrize("released_ms", [None, 5])
def test_i11_a_block_without_an_owner_is_taken_as_long_as_an_address_of_it_is_held_or_cools(released_ms: int | None) -> None:
    """It changes hands empty and cooled, whichever of both was heard of first."""
    occupancy = Occupancy(lambda: 100.0)
    occupancy.set_topology([LEAF])
    occupancy.set_block(None, BLOCK)
    occupancy.set_address(None, address(released_ms))
    occupancy.set_block(BLOCK, None)
    holdings = occupancy.holdings(NODE, placement_in(LEAF))
    assert holdings is not None
    assert (holdings.blocks, holdings.group.is_taken(CIDR)) == ((), True)
    occupancy.set_address(address(released_ms), None)
    holdings = occupancy.holdings(NODE, placement_in(LEAF))
    assert holdings is not None
    assert not holdings.group.is_taken(CIDR)
