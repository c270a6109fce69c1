"""Who is said to be short is who the allocator has nothing for, or only what still cools."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from ipam.allocator import Holdings, PickKind, choose, near_full
from ipam.blocks import Block, GroupBlocks, group_blocks
from ipam.fullness import GroupUse, Need, OwnerUse, full_groups
from ipam.records import Share
from ipam.topology.carving import Prefix
from ipam.topology.splitting import subprefix
from romana.errors import Exhausted

NOW_S = 100.0
PREFIX = Prefix("pods", "pods", "all", IPv4Network("10.0.0.0/28"), pad=False, block_mask=30)
BLOCKS = 4
KINDS = st.sampled_from(["free", "held", "held", "cooling", "cooled"])


@st.composite
def uses(draw: st.DrawFn) -> GroupUse:
    """A group of four blocks of 4 among three nodes and nobody."""
    owners = draw(st.lists(st.sampled_from(["n1", "n2", "n3", ""]), min_size=BLOCKS, max_size=BLOCKS))
    group = group_blocks(PREFIX)
    blocks: dict[str, list[Block]] = {"n1": [], "n2": [], "n3": []}
    for number, owner in enumerate(owners):
        if owner:
            block = group.new_block(subprefix(PREFIX.cidr, PREFIX.block_mask, number))
            blocks[owner].append(filled(block, draw(st.lists(KINDS, min_size=4, max_size=4))))
    taken = [block.cidr for found in blocks.values() for block in found]
    group = group_blocks(PREFIX, taken)
    return GroupUse(group, [owner_use(node, group, found) for node, found in blocks.items()])


def filled(block: Block, kinds: list[str]) -> Block:
    for offset, kind in enumerate(kinds):
        if kind == "held":
            block = block.with_held(block.ip(offset))
        elif kind != "free":
            block = block.with_cooling(block.ip(offset), NOW_S + 1 if kind == "cooling" else NOW_S)
    return block


def owner_use(node: str, group: GroupBlocks, blocks: list[Block]) -> OwnerUse:
    return OwnerUse(node, Share(), Holdings(node, group, tuple(blocks)))


def expected(holdings: Holdings) -> Need | None:
    try:
        pick = choose(holdings, NOW_S)
    except Exhausted:
        return Need.OUT
    if pick.kind is PickKind.STILL_COOLING:
        return Need.COOLING
    return Need.NEAR if near_full(holdings, NOW_S) else None


@given(uses())
def test_needs_are_what_the_allocator_would_do(use: GroupUse) -> None:
    found = full_groups([use], NOW_S)
    assert bool(found) == (use.group.free == 0)
    for group in found:
        wanted = {owner.node: need for owner in use.owners if (need := expected(owner.holdings)) is not None}
        assert {owner.node: owner.need for owner in group.owners} == wanted
        assert group.urgent == any(need is not Need.NEAR for need in wanted.values())
        order = [list(Need).index(owner.need) for owner in group.owners]
        assert order == sorted(order)
