"""Which groups have no block left, who is short of addresses for it, and what would help. Pure.

    group has no free block ──→ full ──→ each of its owners, by what is left in its own blocks:

        OUT      nothing at all: its next pod gets no address from this group
        COOLING  only addresses that were just released: its next pod gets one before its time
        NEAR     less than a quarter: it would have a block ahead, were there one
        (else)   room enough for now: not named

A group can be full by design (one block for its one node) and nobody short: that is no problem, and is told all the same, as the
next node finds nothing there. Nodes that drain take no addresses, and so are short of nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from ipam.allocator import Holdings, counts, near_full
from ipam.blocks import GroupBlocks
from ipam.records import Share
from romana.keys import Network

__all__ = ["FullGroup", "GroupUse", "Need", "OwnerUse", "ShortOwner", "full_groups"]


class Need(Enum):
    """How short an owner is; in the order of urgency."""

    OUT = "out"
    COOLING = "cooling"
    NEAR = "near"


@dataclass(frozen=True, slots=True)
class OwnerUse:
    """A node that takes addresses in the group, or one share of its blocks, and what it has there."""

    node: str
    share: Share
    holdings: Holdings


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group as it stands."""

    group: GroupBlocks
    owners: Sequence[OwnerUse]
    returning: int = 0
    """Blocks in it whose owner is no more: free once their addresses have cooled."""


@dataclass(frozen=True, slots=True)
class ShortOwner:
    """Who is short; tenant and segment are empty where blocks are the node's alone."""

    node: str
    tenant: str
    segment: str
    need: Need

    def __str__(self) -> str:
        return f"{Share(self.tenant, self.segment).of(self.node)} ({self.need.value})"


@dataclass(frozen=True, slots=True)
class FullGroup:
    """A group that has no block left."""

    network: str
    path: str
    name: str
    cidr: Network
    block_mask: int
    blocks: int
    """How many fit; all are in somebody's hands or reserved."""
    reserved: int
    """Of these, kept from being given out."""
    returning: int
    owners: tuple[ShortOwner, ...]
    """Most urgent first, then by name."""
    help: tuple[str, ...]
    """What would help, what costs least first."""

    @property
    def urgent(self) -> bool:
        """Whether an owner's next pod gets no address, or one before its time."""
        return any(owner.need is not Need.NEAR for owner in self.owners)

    def __str__(self) -> str:
        return f"{self.path} ({self.name}, {self.cidr}) of network {self.network}"


def full_groups(groups: Iterable[GroupUse], now_s: float) -> tuple[FullGroup, ...]:
    """Those of the groups that are full, in order. `now_s` is monotonic. O(owners of full groups)."""
    return tuple(_full(use, now_s) for use in groups if use.group.lowest_free() is None)


def _full(use: GroupUse, now_s: float) -> FullGroup:
    group = use.group
    reserved = sum(end - start for start, end in group.reserved_runs())
    needs = [(owner, need) for owner in use.owners if (need := _need(owner.holdings, now_s)) is not None]
    short = [ShortOwner(owner.node, owner.share.tenant, owner.share.segment, need) for owner, need in needs]
    return FullGroup(
        network=group.network,
        path=group.path,
        name=group.name,
        cidr=group.cidr,
        block_mask=group.block_mask,
        blocks=group.total,
        reserved=reserved,
        returning=use.returning,
        owners=tuple(sorted(short, key=_urgency)),
        help=_help(group, reserved, use.returning),
    )


def _urgency(owner: ShortOwner) -> tuple[int, str, str, str]:
    return list(Need).index(owner.need), owner.node, owner.tenant, owner.segment


def _need(holdings: Holdings, now_s: float) -> Need | None:
    tally = counts(holdings, now_s)
    if tally.free + tally.cooled == 0:
        return Need.COOLING if tally.cooling else Need.OUT
    return Need.NEAR if near_full(holdings, now_s) else None


def _help(group: GroupBlocks, reserved: int, returning: int) -> tuple[str, ...]:
    waiting = [f"wait: {returning} blocks of removed nodes return once their addresses have cooled down"] if returning else []
    kept = [f"free what is reserved ({reserved} whole blocks): romana ipam release-reservation CIDR"] if reserved else []
    return (
        *waiting,
        "remove nodes that are gone for good: romana node remove NAME",
        *kept,
        f"give group {group.path} a larger prefix, or add a network: romana topology plan FILE says what that changes",
    )
