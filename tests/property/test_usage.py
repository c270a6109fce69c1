"""What `ipam show` counts, held to a model that counts single addresses; and the sums agree."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ipam.blocks import Block, GroupBlocks, group_blocks, ranges_of, reserved_in
from ipam.records import NodeRecord
from ipam.topology.carving import Prefix
from ipam.topology.document import NetworkSpec
from ipam.topology.placement import Placement
from ipam.usage import Owned, Tally, Usage, usage

NETWORK = NetworkSpec("pods", IPv4Network("10.0.0.0/24"), 29)
PREFIXES = (
    Prefix("pods", "pods/0", "red", IPv4Network("10.0.0.0/26"), pad=False, block_mask=29),
    Prefix("pods", "pods/1", "blue", IPv4Network("10.0.0.64/26"), pad=False, block_mask=29),
    Prefix("pods", "pods/2", "pad", IPv4Network("10.0.0.128/25"), pad=True, block_mask=29),
)
NODES = tuple(
    NodeRecord(name, f"uid-{name}", (), (), (Placement("pods", path, label, cidr),), draining=name == "b")
    for name, path, label, cidr in (("a", "pods/0", "red", PREFIXES[0].cidr), ("b", "pods/1", "blue", PREFIXES[1].cidr))
)
NOW_S = 100.0

addresses = st.integers(0, 127)
world = st.fixed_dictionaries(
    {
        "owners": st.lists(st.sampled_from(["", "a", "b", None]), min_size=16, max_size=16),
        "held": st.sets(addresses, max_size=60),
        "ready": st.dictionaries(addresses, st.sampled_from([50.0, 100.0, 150.0]), max_size=40),
        "reserved": st.lists(st.tuples(addresses, st.integers(26, 32)), max_size=4),
    }
)


def reserved_of(scene: dict[str, Any]) -> list[IPv4Network]:
    first = int(NETWORK.cidr.network_address)
    return [IPv4Network((first + low, mask), strict=False) for low, mask in scene["reserved"]]


def blocks_of(scene: dict[str, Any]) -> list[Owned]:
    blocks = []
    for number, owner in enumerate(scene["owners"]):
        if owner is None:
            continue
        cidr = IPv4Network((int(NETWORK.cidr.network_address) + 8 * number, 29))
        block = Block(cidr, reserved=reserved_in(cidr, ranges_of(reserved_of(scene))))
        for offset in range(8):
            if 8 * number + offset in scene["held"]:
                block = block.with_held(cidr[offset])
            elif (at := scene["ready"].get(8 * number + offset)) is not None:
                block = block.with_cooling(cidr[offset], at)
        blocks.append(Owned("pods", block, owner))
    return blocks


def counted(scene: dict[str, Any]) -> Usage:
    """What we say."""
    blocks = blocks_of(scene)
    groups: dict[tuple[str, str], GroupBlocks] = {}
    for prefix in PREFIXES[:2]:
        inside = [owned.block.cidr for owned in blocks if prefix.cidr.overlaps(owned.block.cidr)]
        groups[prefix.network, prefix.path] = group_blocks(prefix, inside, ranges_of(reserved_of(scene)))
    return usage([NETWORK], PREFIXES, groups, NODES, blocks, NOW_S)


def one_by_one(scene: dict[str, Any], first: int) -> Tally:
    """What counting one address after the other says of the group that begins there."""
    cidrs = reserved_of(scene)
    kinds = {"allocated": 0, "cooling": 0, "reserved": 0, "free": 0}
    for number in range(first, first + 64):
        in_block = scene["owners"][number // 8] is not None
        if in_block and number in scene["held"]:
            kinds["allocated"] += 1
        elif in_block and scene["ready"].get(number, 0) > NOW_S:
            kinds["cooling"] += 1
        else:
            ip = IPv4Address(int(NETWORK.cidr.network_address) + number)
            kinds["reserved" if any(ip in cidr for cidr in cidrs) else "free"] += 1
    own = scene["owners"][first // 8 : first // 8 + 8]
    starts = [start for start, owner in zip(range(first, first + 64, 8), own, strict=True) if owner is None]
    left = [start for start in starts if not all(any(NETWORK.cidr[start + i] in cidr for cidr in cidrs) for i in range(8))]
    return Tally(64, **kinds, blocks_used=8 - len(starts), blocks_left=len(left))


@given(world)
def test_groups_are_counted_as_one_address_after_the_other_would_be(scene: dict[str, Any]) -> None:
    model = {"pods/0": one_by_one(scene, 0), "pods/1": one_by_one(scene, 64)}
    assert {row.group.path: row.tally for row in counted(scene).groups} == model


@given(world)
def test_a_network_is_the_sum_of_its_groups_and_nothing_is_counted_twice(scene: dict[str, Any]) -> None:
    found = counted(scene)
    (network,) = found.networks
    assert network.padded == 128
    assert network.tally == found.groups[0].tally.plus(found.groups[1].tally)
    rows = [network.tally, *(row.tally for row in found.groups), *(row.tally for row in found.nodes)]
    assert all(tally.total == tally.allocated + tally.cooling + tally.reserved + tally.free for tally in rows)
    for key in ("allocated", "cooling", "blocks_used"):
        assert sum(getattr(row.tally, key) for row in found.nodes) == getattr(network.tally, key)
    standing = [(row.node, row.path, row.draining) for row in found.nodes if row.node]
    assert standing == [("a", "pods/0", False), ("b", "pods/1", True)]
    assert [row.nodes for row in found.groups] == [1, 1]
