"""What ipamd shows of the addresses as a whole: how full everything is, what is reserved, how one address stands.

    topology, nodes, blocks, reservations: read anew, at one revision ──┐
    addresses: as the watch and our own writes have told ───────────────┴──→ one look, in one step of the event loop

150,000 addresses are not read for it: their bits stand in the blocks that the allocator works on (`ipam.usage` counts them).
"""

from collections.abc import Callable
from dataclasses import dataclass

from ipam.networks import reserved_by_document
from ipam.records import ReservationRecord
from ipam.state import State
from ipam.usage import Owned, Usage, usage
from romana import keys
from romana.keys import Address
from romana.store.api import Store

__all__ = ["Inventory", "Reserved"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation, and whether the topology document has it: then it has no note and no time."""

    record: ReservationRecord
    by_topology: bool


class Inventory:
    """`clock` is monotonic, in seconds; `now_ms` the wall clock, milliseconds since 1970."""

    def __init__(self, store: Store, state: State, clock: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self._store = store
        self._state = state
        self._clock = clock
        self._now_ms = now_ms

    async def usage(self) -> tuple[Usage, int]:
        """How full everything is, and the revision that topology, nodes, blocks and reservations are of, or newer."""
        self._state.require_whole()
        revision = await self._state.reload_together(self._store, keys.TOPOLOGY, keys.NODES, keys.BLOCKS, keys.RESERVATIONS)
        topology = self._state.in_force()
        networks = topology.value.document.networks if topology else ()
        prefixes = topology.value.prefixes if topology else ()
        nodes = [row.value for row in self._state.nodes.rows.values()]
        occupancy, rows = self._state.occupancy, self._state.blocks.rows
        blocks = (
            Owned(key.split("/")[1], block, row.value.node if (row := rows.get(key)) else "")
            for key, block in occupancy.blocks().items()
        )
        return usage(networks, prefixes, occupancy.groups(), nodes, blocks, self._clock()), revision

    async def reservations(self) -> tuple[list[Reserved], int]:
        """All reservations by network and address, and the revision they are of."""
        self._state.require_whole()
        revision = await self._state.reload_together(self._store, keys.TOPOLOGY, keys.RESERVATIONS)
        return sorted(self._reserved(), key=_place), revision

    def reserving(self, network: str, ip: Address) -> Reserved | None:
        """A reservation that the address lies in, as last heard: an operator's before the document's, the narrowest first."""
        having = [one for one in self._reserved() if one.record.network == network and ip in one.record.cidr]
        return min(having, key=lambda one: (one.by_topology, -one.record.cidr.prefixlen), default=None)

    def cooling_until_ms(self, key: str) -> int | None:
        """When the released address of that key has cooled, by the wall clock; None when it has, or is not known."""
        left_s = self._state.occupancy.cools_for_s(key)
        return self._now_ms() + round(left_s * 1000) if left_s > 0 else None

    def _reserved(self) -> list[Reserved]:
        topology = self._state.in_force()
        networks = topology.value.document.networks if topology else ()
        own = [
            Reserved(ReservationRecord(network.name, cidr, confirmed=True), by_topology=True)
            for network in networks
            for cidr in reserved_by_document(network)
        ]
        return own + [Reserved(row.value, by_topology=False) for row in self._state.reservations.rows.values()]


def _place(one: Reserved) -> tuple[str, int, int, int, bool]:
    cidr = one.record.cidr
    return one.record.network, cidr.version, int(cidr.network_address), cidr.prefixlen, one.by_topology
