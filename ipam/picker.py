"""Picks the addresses that an attachment gets, and keeps them from other requests of this process until they are written.

demand ──→ choices of networks (ipam.networks) ──→ for each in turn: one address of each network, all or none ──→ Picked
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ipam.allocator import Holdings, Pick, PickKind, choose
from ipam.claims import Claims
from ipam.demand import Demand
from ipam.fixed import FixedAddresses
from ipam.networks import choices, fixed_in, share_of
from ipam.reads import Reader
from ipam.records import Assigned, NodeRecord, Share, address_key
from ipam.state import State
from ipam.table import Row
from ipam.topology.placement import Placement, misfits
from romana import keys
from romana.errors import Conflict, Exhausted, NotFound, Refused, Unavailable

__all__ = ["Picked", "Picker"]

ATTEMPTS = 20  # claims of a block whose addresses other requests then took


@dataclass(frozen=True, slots=True)
class Picked:
    """An address to write, and where it comes from."""

    address: Assigned
    kind: PickKind


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one address is to come from."""

    placement: Placement
    share: Share


class Picker:
    """`clock` is monotonic, in seconds."""

    def __init__(self, reader: Reader, state: State, claims: Claims, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._state = state
        self._claims = claims
        self._clock = clock
        self._fixed = FixedAddresses(reader, state, claims)

    async def reserve(self, name: str, demand: Demand) -> tuple[Picked, ...]:
        """One address of each family that the choice has, which nobody else in this process picks; the caller settles them.

        Claims blocks where it takes one. Raises what `ipam.networks.choices` and `ipam.fixed` raise, Refused and NotFound for the
        node; Exhausted at once when there is no address; Conflict and Unavailable when there may be one later.
        """
        if not self._usable(name):
            await self._reader.read(keys.node(name), keys.TOPOLOGY)
            if not self._usable(name):
                raise self._refusal(name)
        full: list[str] = []
        missing: list[str] = []
        for choice in choices(self._state.require_topology().document, demand):
            sources = [(self._source(name, network.name, share_of(network, demand)), network) for network in choice]
            missing += [network.name for source, network in sources if source is None]
            wanted = [(source, fixed_in(network, demand)) for source, network in sources if source is not None]
            if len(wanted) < len(choice):
                continue
            picked: list[Picked] = []
            try:
                for source, ip in wanted[1:]:  # of a pair: before the first of it claims a block for nothing
                    await self._check(name, source, ip)
                for source, ip in wanted:
                    picked.append(await (self._one(name, source) if ip is None else self._at(name, source, ip)))
                return tuple(picked)
            except Exhausted as err:
                self.settle(picked)
                full.append(str(err))
            except BaseException:
                self.settle(picked)
                raise
        if full:
            raise Exhausted("; ".join(full), reason="NETWORK_EXHAUSTED")
        raise self._misfit(name, missing)

    def settle(self, picked: Sequence[Picked]) -> None:
        """End `reserve`: from now on the addresses are what the store says."""
        for address in (each.address for each in picked):
            row = self._state.addresses.rows.get(address_key(address.network, address.ip))
            self._state.occupancy.settle(address.network, address.ip, address.block, row)

    async def _check(self, name: str, source: _Source, ip: keys.Address | None) -> None:
        """Raise what picking would, as far as it is to be seen without claiming a block."""
        if ip is None:
            await self._choose(name, source)
        else:
            await self._fixed.check(name, source.placement, source.share, ip)

    async def _at(self, name: str, source: _Source, ip: keys.Address) -> Picked:
        placement = source.placement
        block = await self._fixed.reserve(name, placement, source.share, ip)
        return Picked(Assigned(placement.network, ip, block), PickKind.FIXED)

    async def _one(self, name: str, source: _Source) -> Picked:
        network = source.placement.network
        for _ in range(ATTEMPTS):
            pick = await self._choose(name, source)
            if pick.kind is PickKind.NEW_BLOCK:
                with suppress(Exhausted):  # the last block, and another was faster: the next choice is among what is left
                    await self._claims.claim_now(name, network, source.share)
                continue
            self._state.occupancy.reserve(network, pick.ip, pick.block)
            if not self._known_held(network, pick):  # damaged in the store: stays reserved, and so is never given out
                return Picked(Assigned(network, pick.ip, pick.block), pick.kind)
        raise Conflict(f"no address on node {name}: {ATTEMPTS} times the block that was claimed for it was used up; try again")

    async def _choose(self, name: str, source: _Source) -> Pick:
        """The allocator's choice; it is not exhausted as long as a claim under way may fail, or be this node's own."""
        network = source.placement.network
        for _ in range(ATTEMPTS):
            try:
                return choose(self._holdings(name, source), self._clock())
            except Exhausted:
                if not await self._claims.wait(network):
                    raise
        raise Conflict(f"no address on node {name}: others claim the last blocks of network {network}; try again")

    def _holdings(self, name: str, source: _Source) -> Holdings:
        node = self._state.node(name)
        holdings = self._state.holdings(node, source.placement, source.share) if node else None
        if holdings is None:
            network = source.placement.network
            raise Unavailable(f"node {name} is being placed in the new topology (network {network}); try again")
        return holdings

    def _source(self, name: str, network: str, share: Share) -> _Source | None:
        node = self._state.node(name)
        placement = node.value.placement(network) if node else None
        return _Source(placement, share) if placement else None

    def _usable(self, name: str) -> bool:
        node = self._state.node(name)
        return bool(node and self._state.in_force() and not node.value.draining and node.value.placements)

    def _refusal(self, name: str) -> NotFound | Refused:
        node, topology = self._state.node(name), self._state.in_force()
        if node is None:
            return NotFound(f"node {name} is not known any more", reason="NODE_UNKNOWN")
        if topology is None:
            missing = "no topology was applied yet; apply one: romana topology apply FILE"
            return Refused(f"no address for node {name}: {missing}", reason="NO_TOPOLOGY")
        if node.value.draining:
            return Refused(f"no address for node {name}: it is draining", reason="NODE_DRAINING")
        return self._misfit(name, ())

    def _misfit(self, name: str, networks: Sequence[str]) -> Refused:
        """No group takes the node, in these networks (none: in all of them)."""
        node, topology = self._state.node(name), self._state.require_topology()
        prefixes = [prefix for prefix in topology.prefixes if not networks or prefix.network in networks]
        where = f" in network {', '.join(networks)}" if networks else ""
        stands = _stands(node)
        return Refused(
            f"no group of the topology takes node {name}{where}{stands}",
            misfits(prefixes, name, dict(node.value.labels) if node else {}),
            reason="NODE_IN_NO_GROUP",
        )

    def _known_held(self, network: str, pick: Pick) -> bool:
        row = self._state.addresses.rows.get(address_key(network, pick.ip))
        return row is not None and row.value.held


def _stands(node: Row[NodeRecord] | None) -> str:
    names = ", ".join(placement.network for placement in node.value.placements) if node else ""
    return f"; it stands in {names}" if names else ""
