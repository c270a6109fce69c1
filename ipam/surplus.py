"""Which of an owner's blocks it does not need. Pure.

    needs   every block with an address that is held or cools
            one empty block beside those, as it would be claimed ahead
            enough room that no block is claimed ahead soon: half a block of addresses more than `allocator.near_full` asks for
            one block, where it has nothing but empty ones

What is more goes back to the group, the highest first. So a block that was claimed ahead is never given back just to be claimed
again: it is given back only once so many addresses are free that the rest is enough, and after that the rest is enough still.
Two ipamd that both claim ahead for one node leave it with a block too many; that heals by the same rule.

Where tenants own blocks none is claimed ahead, and an owner without an address needs no block.
"""

from collections.abc import Sequence

from ipam.allocator import Holdings, counts
from ipam.blocks import Block

__all__ = ["is_empty", "surplus"]


def surplus(holdings: Holdings, now_s: float, *, ahead: bool) -> tuple[Block, ...]:
    """What to give back, in this order. `ahead`: whether blocks are claimed ahead for this owner. `now_s` is monotonic."""
    found: list[Block] = []
    for block in reversed(holdings.blocks):
        if not is_empty(block, now_s):
            continue
        rest = holdings.without_block(block.cidr)
        if _enough(rest, block, now_s, ahead=ahead):
            found.append(block)
            holdings = rest
    return tuple(found)


def is_empty(block: Block, now_s: float) -> bool:
    """Whether no address of it is held, and none cools any more."""
    return not block.held and all(entry.ready_s <= now_s for entry in block.cooling)


def _enough(rest: Holdings, block: Block, now_s: float, *, ahead: bool) -> bool:
    if ahead and not _has_spare(rest.blocks, now_s):
        return False
    if all(is_empty(own, now_s) for own in rest.blocks):
        return True
    tally = counts(rest, now_s)
    usable = tally.free + tally.cooled
    # 4 * (usable - size / 2) > all, in whole numbers: see `allocator.near_full`.
    return 4 * (2 * usable - block.size) > 2 * (usable + tally.held + tally.cooling)


def _has_spare(blocks: Sequence[Block], now_s: float) -> bool:
    return any(is_empty(own, now_s) and own.unused_reserved() < own.size for own in blocks)
