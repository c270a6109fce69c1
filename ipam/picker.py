"""Picks the addresses that an attachment gets, and keeps them from other requests of this process until they are written.

demand ──→ choices of networks (ipam.networks) ──→ for each in turn: one address of each network, all or none ──→ Picked
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ipam.allocator import Holdings, Pick, PickKind, choose, cooled, fresh
from ipam.claims import Claims
from ipam.demand import Demand
from ipam.fixed import FixedAddresses
from ipam.networks import choices, fixed_in, share_of
from ipam.reads import Reader
from ipam.records import Assigned, NodeRecord, Share, TopologyRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.placement import Placement, misfits
from romana import keys
from romana.errors import Conflict, Exhausted, NotFound, Refused, RomanaError, Unavailable

__all__ = ["Picked", "Picker"]

ATTEMPTS = 20  # claims of a block whose addresses other requests then took
SOURCES_MAX = 65536  # by node and demand; all are found anew when there are more


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


_Known = tuple[Row[NodeRecord] | None, Row[TopologyRecord] | None, Sequence[_Source]]
"""Right as long as these are the node's and the topology's rows."""


class Picker:
    """`clock` is monotonic, in seconds."""

    def __init__(self, reader: Reader, state: State, claims: Claims, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._state = state
        self._claims = claims
        self._clock = clock
        self._fixed = FixedAddresses(reader, state, claims)
        self._sources: dict[tuple[str, Demand], _Known] = {}

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

    def reserve_now(self, name: str, demand: Demand) -> Sequence[Picked] | None:
        """What `reserve` would give, where it need not wait for anything: None where it must, or has something to refuse."""
        node = self._state.node(name)
        picked: list[Picked] = []
        for source in self._plain_sources(name, demand) if node else ():
            pick = self._pick_now(node.value, source) if node else None
            one = self._reserved(source.placement.network, pick) if pick else None
            if one is None:
                self.settle(picked)
                return None
            picked.append(one)
        return picked or None

    def _pick_now(self, node: NodeRecord, source: _Source) -> Pick | None:
        """The allocator's choice, when it is an address of an own block whose turn it is."""
        place = source.placement
        if pick := fresh(self._state.occupancy.own_blocks(node.uid, place.network, source.share, place.cidr)):
            return pick
        holdings = self._state.occupancy.holdings(node, place, source.share)
        return cooled(holdings, self._clock()) if holdings else None

    def _plain_sources(self, name: str, demand: Demand) -> Sequence[_Source]:
        """Where addresses come from when the first choice has them, and the node may have some; else none. Kept, as all ask."""
        node, topology = self._state.node(name), self._state.in_force()
        known = self._sources.get((name, demand))
        if known is not None and known[0] is node and known[1] is topology:
            return known[2]
        if len(self._sources) >= SOURCES_MAX:
            self._sources.clear()
        found = self._find_sources(name, demand)
        self._sources[name, demand] = (node, topology, found)
        return found

    def _find_sources(self, name: str, demand: Demand) -> Sequence[_Source]:
        node = self._state.node(name)
        if node is None or demand.ips or not self._usable(name):
            return ()
        try:
            first = choices(self._state.require_topology().document, demand)[0]
        except RomanaError:
            return ()
        sources = [self._source(name, network.name, share_of(network, demand)) for network in first]
        standing = [each for each in sources if each and self._state.holdings(node, each.placement, each.share)]
        return standing if len(standing) == len(first) else ()

    def settle(self, picked: Sequence[Picked]) -> None:
        """End `reserve`: from now on the addresses are what the store says."""
        for each in picked:
            self._state.written(each.address.key)
            self._state.occupancy.settle(each.address, self._state.addresses.rows.get(each.address.key))

    async def _check(self, name: str, source: _Source, ip: keys.Address | None) -> None:
        """Raise what picking would, as far as it is to be seen without claiming a block."""
        if ip is None:
            await self._choose(name, source)
        else:
            await self._fixed.check(name, source.placement, source.share, ip)

    async def _at(self, name: str, source: _Source, ip: keys.Address) -> Picked:
        return Picked(await self._fixed.reserve(name, source.placement, source.share, ip), PickKind.FIXED)

    async def _one(self, name: str, source: _Source) -> Picked:
        network = source.placement.network
        for _ in range(ATTEMPTS):
            pick = await self._choose(name, source)
            if pick.kind is PickKind.NEW_BLOCK:
                with suppress(Exhausted):  # the last block, and another was faster: the next choice is among what is left
                    await self._claims.claim_now(name, network, source.share)
                continue
            if (picked := self._reserved(network, pick)) is not None:
                return picked
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

    def _reserved(self, network: str, pick: Pick) -> Picked | None:
        """The pick, kept for the caller; None for one that is damaged in the store: it stays reserved, and is never given out."""
        address = Assigned(network, pick.ip, pick.block)
        self._state.occupancy.reserve(address)
        row = self._state.addresses.rows.get(address.key)
        return Picked(address, pick.kind) if row is None or not row.value.held else None


def _stands(node: Row[NodeRecord] | None) -> str:
    names = ", ".join(placement.network for placement in node.value.placements) if node else ""
    return f"; it stands in {names}" if names else ""
