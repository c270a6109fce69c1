"""Picks the address that an attachment gets, and keeps it from other requests of this process until it is written."""

from collections.abc import Callable
from contextlib import suppress

from ipam.allocator import Pick, PickKind, choose
from ipam.claims import Claims
from ipam.networks import networks_for
from ipam.reads import Reader
from ipam.records import Assigned
from ipam.state import State
from ipam.topology.placement import Placement, misfits
from romana import keys
from romana.errors import Conflict, Exhausted, NotFound, Refused, Unavailable

__all__ = ["Picker"]

ATTEMPTS = 20  # claims of a block whose addresses other requests then took


class Picker:
    """`clock` is monotonic, in seconds."""

    def __init__(self, reader: Reader, state: State, claims: Claims, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._state = state
        self._claims = claims
        self._clock = clock

    async def reserve(self, name: str, tenant: str) -> tuple[Placement, Pick]:
        """An address that nobody else in this process picks; claims a block when it takes one. The caller settles it.

        Raises Refused and NotFound; Exhausted at once when there is none; Conflict and Unavailable when there may be one later.
        """
        for _ in range(ATTEMPTS):
            placement, pick = await self._pick(name, tenant)
            if pick.kind is PickKind.NEW_BLOCK:
                await self._claim(name, placement.network)
                continue
            self._state.occupancy.reserve(placement.network, pick.ip, pick.block)
            if not self._known_held(placement, pick):  # damaged in the store: stays reserved, and so is never given out
                return placement, pick
        raise Conflict(f"no address on node {name}: {ATTEMPTS} times the block that was claimed for it was used up; try again")

    async def _claim(self, name: str, network: str) -> None:
        with suppress(Exhausted):  # it was the last block, and another was faster: the next choice is among what is left
            await self._claims.claim_now(name, network)

    def settle(self, address: Assigned) -> None:
        """End `reserve`: from now on the address is what the store says."""
        row = self._state.addresses.rows.get(keys.address(address.network, address.ip))
        self._state.occupancy.settle(address.network, address.ip, address.block, row)

    async def _pick(self, name: str, tenant: str) -> tuple[Placement, Pick]:
        placements = self._placements(name, tenant)
        if not placements:
            await self._reader.read(keys.node(name), keys.TOPOLOGY)
            placements = self._placements(name, tenant) or self._refuse(name, tenant)
        full = []
        for placement in placements:
            try:
                return placement, await self._choose(name, placement)
            except Exhausted as err:
                full.append(str(err))
        raise Exhausted("; ".join(full))

    async def _choose(self, name: str, placement: Placement) -> Pick:
        """The allocator's choice; it is not exhausted as long as a claim under way may fail, or be this node's own."""
        for _ in range(ATTEMPTS):
            node = self._state.node(name)
            holdings = self._state.holdings(node.value, placement) if node else None
            if holdings is None:
                raise Unavailable(f"node {name} is being placed in the new topology (network {placement.network}); try again")
            try:
                return choose(holdings, self._clock())
            except Exhausted:
                if not await self._claims.wait(placement.network):
                    raise
        raise Conflict(f"no address on node {name}: others claim the last blocks of network {placement.network}; try again")

    def _placements(self, name: str, tenant: str) -> list[Placement]:
        """Where the node may take an address for this pod from, in order of preference."""
        node, topology = self._state.node(name), self._state.in_force()
        if node is None or topology is None or node.value.draining:
            return []
        networks = networks_for(topology.value.document, tenant)
        found = (node.value.placement(network) for network in networks)
        return [placement for placement in found if placement is not None]

    def _refuse(self, name: str, tenant: str) -> list[Placement]:
        node, topology = self._state.node(name), self._state.in_force()
        if node is None:
            raise NotFound(f"node {name} is not known any more")
        if topology is None:
            raise Refused(f"no address for node {name}: no topology was applied yet; apply one: romana topology apply FILE")
        if node.value.draining:
            raise Refused(f"no address for node {name}: it is draining")
        if node.value.placements:
            stands = ", ".join(placement.network for placement in node.value.placements)
            raise Refused(f"no network of node {name} ({stands}) admits tenant {tenant!r}; every one lists its tenants")
        raise Refused(
            f"no group of the topology takes node {name}", misfits(topology.value.prefixes, name, dict(node.value.labels))
        )

    def _known_held(self, placement: Placement, pick: Pick) -> bool:
        row = self._state.addresses.rows.get(keys.address(placement.network, pick.ip))
        return row is not None and row.value.held
