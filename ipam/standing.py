"""Groups with those who take addresses in them, gathered from the state for `ipam.fullness`.

Where nodes own blocks there is one owner for each node, with blocks or without. Where tenants do, there is one for each share of
a node's blocks, and a node without any stands for itself: whose its first block will be is not known before a pod comes.
"""

from collections.abc import Mapping, Sequence

from ipam.fullness import FullGroup, GroupUse, OwnerUse, full_groups
from ipam.occupancy import NOBODY
from ipam.records import NodeRecord, Share
from ipam.state import State
from ipam.topology.placement import Placement

__all__ = ["full_now"]

_Shares = Mapping[tuple[str, str], Sequence[Share]]
"""By node uid and network."""


def full_now(state: State, now_s: float) -> tuple[FullGroup, ...]:
    """The groups that are full, as far as this ipamd has heard. O(groups), and O(owners of blocks) where one is full."""
    full = state.occupancy.full()
    if not full:
        return ()
    shares: dict[tuple[str, str], list[Share]] = {}
    gone: list[tuple[str, str, Share]] = []
    for uid, network, share in state.occupancy.owners():
        if state.node_of(uid):
            shares.setdefault((uid, network), []).append(share)
        else:
            gone.append((uid, network, share))
    return full_groups((_use(state, group, shares, gone) for group in full), now_s)


def _use(state: State, key: tuple[str, str], shares: _Shares, gone: Sequence[tuple[str, str, Share]]) -> GroupUse:
    group = state.occupancy.group(*key)
    owners = [owner for node, place in state.standing(*key) for owner in _owners(state, node, place, shares)]
    returning = sum(len(state.occupancy.blocks_in(uid, network, share, group.cidr)) for uid, network, share in gone)
    return GroupUse(group, owners, returning)


def _owners(state: State, node: NodeRecord, place: Placement, shares: _Shares) -> list[OwnerUse]:
    found = [
        OwnerUse(node.name, share, holdings)
        for share in sorted(shares.get((node.uid, place.network), ()), key=lambda each: (each.tenant, each.segment))
        if (holdings := state.occupancy.holdings(node, place, share)) is not None and holdings.blocks
    ]
    if found:
        return found
    bare = state.occupancy.holdings(node, place)
    return [OwnerUse(node.name, NOBODY, bare)] if bare is not None else []
