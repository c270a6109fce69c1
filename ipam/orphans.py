"""Blocks of nodes that are no more, and when their groups have them back.

A removed node's blocks stay its uid's until every address in them has cooled down (`ipam.node_life`). Until then nobody routes to
them and nobody gives out of them: that is as it should be, and is shown as such.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ipam.records import AddressRecord, BlockRecord
from ipam.state import State
from ipam.table import Row
from romana.keys import Network

__all__ = ["Returning", "orphans", "returning"]


@dataclass(frozen=True, slots=True)
class Returning:
    """A block on its way back."""

    network: str
    cidr: Network
    node: str
    node_uid: str
    held: int
    """Keeps it: none, where the node was removed as it should be."""
    cooling: int
    ready_s: float
    """When the last of its addresses has cooled, monotonic; may be past."""


def orphans(state: State) -> list[tuple[Row[BlockRecord], list[Row[AddressRecord]]]]:
    """Blocks whose owner is no more, with the addresses in them. O(blocks), and O(addresses) where there is one."""
    found = [row for row in state.blocks.rows.values() if state.node_of(row.value.node_uid) is None]
    if not found:
        return []
    inside: dict[tuple[str, object], list[Row[AddressRecord]]] = {}
    for address in state.addresses.rows.values():
        inside.setdefault((address.value.network, address.value.block), []).append(address)
    return [(row, inside.get((row.value.network, row.value.cidr), [])) for row in found]


def returning(state: State, now_s: float) -> list[Returning]:
    """The same, as they are shown; in the order of networks and prefixes. `now_s` is monotonic."""
    found = [_shown(state, block.value, addresses, now_s) for block, addresses in orphans(state)]
    return sorted(found, key=lambda one: (one.network, one.cidr.version, int(one.cidr.network_address)))


def _shown(state: State, block: BlockRecord, addresses: Sequence[Row[AddressRecord]], now_s: float) -> Returning:
    held = sum(row.value.held for row in addresses)
    ready = [state.occupancy.ready_s(row.key) for row in addresses if not row.value.held]
    cooling = sum(at_s > now_s for at_s in ready)
    return Returning(block.network, block.cidr, block.node, block.node_uid, held, cooling, max(ready, default=now_s))
