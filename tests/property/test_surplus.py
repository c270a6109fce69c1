"""What a node gives back it does not claim again, and what it claims ahead it does not give back."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from ipam.allocator import Holdings, near_full, next_block
from ipam.blocks import Block, group_blocks
from ipam.surplus import is_empty, surplus
from ipam.topology.carving import Prefix
from ipam.topology.splitting import subprefix

NOW_S = 100.0
PREFIX = Prefix("pods", "pods", "all", IPv4Network("10.0.0.0/24"), pad=False, block_mask=30)


@st.composite
def holdings(draw: st.DrawFn) -> Holdings:
    """A node's blocks of 4: each address free, held, cooling or cooled; some of any."""
    found = Holdings("n1", group_blocks(PREFIX))
    for number in draw(st.sets(st.integers(0, 63), max_size=12)):
        cidr = subprefix(PREFIX.cidr, PREFIX.block_mask, number)
        block = found.group.new_block(cidr)
        kinds = st.sampled_from(["free", "free", "held", "cooling", "cooled"])
        empty = draw(st.booleans())
        for offset, kind in enumerate(draw(st.lists(kinds, min_size=4, max_size=4)) if not empty else ()):
            block = _with(block, offset, kind)
        found = found.with_block(block)
    return found


def _with(block: Block, offset: int, kind: str) -> Block:
    ip = block.ip(offset)
    if kind == "held":
        return block.with_held(ip)
    if kind == "free":
        return block
    return block.with_cooling(ip, NOW_S + 1 if kind == "cooling" else NOW_S)


def without(found: Holdings, blocks: tuple[Block, ...]) -> Holdings:
    for block in blocks:
        found = found.without_block(block.cidr)
    return found


@given(holdings(), st.booleans())
def test_only_empty_blocks_go_and_then_there_is_nothing_more_to_give(found: Holdings, ahead: bool) -> None:
    spare = surplus(found, NOW_S, ahead=ahead)
    assert all(is_empty(block, NOW_S) and block in found.blocks for block in spare)
    assert surplus(without(found, spare), NOW_S, ahead=ahead) == ()


@given(holdings())
def test_after_giving_back_nothing_is_claimed_ahead(found: Holdings) -> None:
    spare = surplus(found, NOW_S, ahead=True)
    if spare:
        assert not near_full(without(found, spare), NOW_S)


@given(holdings())
def test_block_claimed_ahead_is_not_given_back(found: Holdings) -> None:
    settled = without(found, surplus(found, NOW_S, ahead=True))
    cidr = next_block(settled, NOW_S)
    if cidr is not None:
        claimed = settled.with_block(settled.group.new_block(cidr))
        assert surplus(claimed, NOW_S, ahead=True) == ()


@given(holdings())
def test_node_with_an_address_keeps_an_empty_block_beside_it_and_one_without_keeps_one(found: Holdings) -> None:
    left = without(found, surplus(found, NOW_S, ahead=True)).blocks
    empty = [block for block in left if is_empty(block, NOW_S)]
    had = [block for block in found.blocks if is_empty(block, NOW_S)]
    assert bool(empty) == bool(had)
    if len(empty) == len(left):
        assert len(left) <= 1  # of two ipamd that claim at once for a new node, one block is left


@given(holdings())
def test_tenants_share_without_an_address_keeps_nothing(found: Holdings) -> None:
    left = without(found, surplus(found, NOW_S, ahead=False)).blocks
    assert left == () or any(not is_empty(block, NOW_S) for block in left)
