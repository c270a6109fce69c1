"""Which address a node gives out next, and when it needs another block. Pure.

    never used, lowest first, in the node's own blocks  >  cooled, oldest release first  >  the first of a new block
        >  (the group is full) still cooling, oldest release first  >  Exhausted

A pick only says what to write. A caller with picks in flight goes on from `after(holdings, pick)`, and starts again from what it
heard when a write fails; `after` is idempotent, so folding picks over a state that already shows them is right too.

Cost of a choice: O(own blocks), with some integer operations per block; neither the addresses of a block nor the blocks of the
group are walked.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from ipam.blocks import Block, GroupBlocks
from romana.errors import Exhausted, InvalidInput
from romana.keys import Address, Network

__all__ = [
    "Counts",
    "Holdings",
    "Pick",
    "PickKind",
    "after",
    "choose",
    "cooled",
    "counts",
    "fresh",
    "leaves_reserve",
    "near_full",
    "next_block",
    "wants_next_block",
]


class PickKind(Enum):
    """Where a picked address comes from."""

    FRESH = "never used, in an own block"
    COOLED = "released before, its cool-down is over"
    NEW_BLOCK = "the first of a block that must be claimed with it"
    STILL_COOLING = "released before, its cool-down is cut short because the group is full"
    FIXED = "asked for by the pod"


@dataclass(frozen=True, slots=True)
class Pick:
    """An address to take, and the block it lies in."""

    kind: PickKind
    ip: Address
    block: Network


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one owner has of one network, and the group that it takes from.

    A block that nobody owns while addresses of it still cool counts as taken in `group`: it changes hands empty and cooled.
    """

    owner: str
    """The node, with tenant and segment where they own blocks; for messages."""
    group: GroupBlocks
    blocks: tuple[Block, ...] = ()
    """Its own, ascending."""

    def with_block(self, block: Block) -> "Holdings":
        """With this block owned, and taken in the group; in place of the one of that prefix, if any."""
        others = [own for own in self.blocks if own.cidr != block.cidr]
        insort(others, block, key=lambda own: int(own.cidr.network_address))
        return replace(self, group=self.group.with_taken(block.cidr), blocks=tuple(others))

    def without_block(self, block: Network) -> "Holdings":
        """With this block given back."""
        return replace(self, group=self.group.with_free(block), blocks=tuple(own for own in self.blocks if own.cidr != block))

    def with_held(self, ip: Address) -> "Holdings":
        """With this address of an own block held."""
        return self._with(self.block_of(ip).with_held(ip))

    def with_cooling(self, ip: Address, ready_s: float, released_s: float = 0.0) -> "Holdings":
        """With this address of an own block released; its cool-down is over at `ready_s` (monotonic)."""
        return self._with(self.block_of(ip).with_cooling(ip, ready_s, released_s))

    def without_address(self, ip: Address) -> "Holdings":
        """With this address of an own block as if it were never used."""
        return self._with(self.block_of(ip).without_address(ip))

    def block_of(self, ip: Address) -> Block:
        """The own block that the address lies in; raises InvalidInput when there is none."""
        for block in self.blocks:
            if ip in block.cidr:
                return block
        raise InvalidInput(f"{ip} is in no block of {self.owner} in network {self.group.network}")

    def _with(self, block: Block) -> "Holdings":
        return replace(self, blocks=tuple(block if own.cidr == block.cidr else own for own in self.blocks))


@dataclass(frozen=True, slots=True)
class Counts:
    """How the addresses of an owner's blocks stand; together they are all of them."""

    free: int
    """Never used."""
    held: int
    cooling: int
    """Released, the cool-down not over."""
    cooled: int
    """Released, the cool-down over."""
    reserved: int = 0
    """Not to be given out, and neither held nor released."""


def choose(holdings: Holdings, now_s: float) -> Pick:
    """The address to give out next; raises Exhausted when the group is full and nothing cools. `now_s` is monotonic."""
    return (
        fresh(holdings.blocks)
        or cooled(holdings, now_s)
        or _new_block(holdings)
        or _oldest(holdings, float("inf"), PickKind.STILL_COOLING)
        or _exhausted(holdings)
    )


def after(holdings: Holdings, pick: Pick) -> Holdings:
    """The holdings when the pick has been written."""
    if all(own.cidr != pick.block for own in holdings.blocks):
        holdings = holdings.with_block(holdings.group.new_block(pick.block))
    return holdings.with_held(pick.ip)


def fresh(blocks: Iterable[Block]) -> Pick | None:
    """The lowest address that was never used, in blocks that ascend: what `choose` prefers to all else."""
    for block in blocks:
        if (offset := block.lowest_free()) is not None:
            return Pick(PickKind.FRESH, block.ip(offset), block.cidr)
    return None


def cooled(holdings: Holdings, now_s: float) -> Pick | None:
    """The address whose cool-down was over first: what `choose` prefers when none is fresh."""
    return _oldest(holdings, now_s, PickKind.COOLED)


def _oldest(holdings: Holdings, until_s: float, kind: PickKind) -> Pick | None:
    """The released address that was ready first, by `until_s`."""
    oldest = [(entry, block) for block in holdings.blocks if block.cooling and (entry := block.oldest_cooling())]
    ready = [(entry, block) for entry, block in oldest if entry.ready_s <= until_s]
    if not ready:
        return None
    entry, block = min(ready, key=lambda found: found[0])
    return Pick(kind, block.ip(entry.offset), block.cidr)


def _new_block(holdings: Holdings) -> Pick | None:
    cidr = holdings.group.lowest_free()
    if cidr is None:
        return None
    offset = holdings.group.new_block(cidr).lowest_free()  # one that is reserved whole counts as taken
    return Pick(PickKind.NEW_BLOCK, cidr.network_address + (offset or 0), cidr)


def _exhausted(holdings: Holdings) -> Pick:
    group = holdings.group
    where = f"group {group.path} ({group.name}, {group.cidr}) of network {group.network}"
    kept = f" or reserved (in {len(group.reserved)} ranges)" if group.reserved else ""
    full = f"all its {group.total} blocks of /{group.block_mask} are taken{kept}"
    own = f"the {len(holdings.blocks)} blocks of {holdings.owner} are full, too" if holdings.blocks else "none of them by it"
    free = ", free what is reserved (romana ipam release-reservation)" if group.reserved else ""
    cure = f"release pods, remove nodes that are gone{free}, give the group a larger prefix, or add a network"
    raise Exhausted(f"no address left for {holdings.owner} in {where}: {full}, {own}; {cure}", reason="NETWORK_EXHAUSTED")


def counts(holdings: Holdings, now_s: float) -> Counts:
    """How the addresses of the own blocks stand. O(own blocks)."""
    size = sum(block.size for block in holdings.blocks)
    held = sum(block.held.bit_count() for block in holdings.blocks)
    released = sum(len(block.cooling) for block in holdings.blocks)
    cooled = sum(bisect_right(block.cooling, now_s, key=lambda entry: entry.ready_s) for block in holdings.blocks)
    reserved = sum(block.unused_reserved() for block in holdings.blocks)
    free = size - held - released - reserved
    return Counts(free=free, held=held, cooling=released - cooled, cooled=cooled, reserved=reserved)


def wants_next_block(holdings: Holdings, now_s: float) -> bool:
    """Whether to claim a block ahead, so that its routes are everywhere before an address of it is used.

    True without a block, and when three quarters of the own addresses are held or cooling; false when the group has none to give.
    """
    return holdings.group.lowest_free() is not None and near_full(holdings, now_s)


def near_full(holdings: Holdings, now_s: float) -> bool:
    """Whether three quarters of the own addresses are held or cooling; true without a block."""
    tally = counts(holdings, now_s)
    usable = tally.free + tally.cooled
    return 4 * usable <= usable + tally.held + tally.cooling


def leaves_reserve(holdings: Holdings, bare_nodes: int) -> bool:
    """Whether a block claimed ahead leaves the group one for each of its nodes that have none yet; the first one always may be.

    Else a node at three quarters would take the last block, and another of its group could start no pod at all.
    """
    return not holdings.blocks or holdings.group.free > bare_nodes


def next_block(holdings: Holdings, now_s: float) -> Network | None:
    """The block to claim ahead now, or None; `leaves_reserve` has a word, too."""
    return holdings.group.lowest_free() if wants_next_block(holdings, now_s) else None
