"""Checks of blocks and reservations: owners, places, overlaps, what is held inside. Pure. Nothing of it repairs itself here."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from ipam.check.finding import Fact, Finding, Kind
from ipam.check.snapshot import Kept, Snapshot
from ipam.records import AddressRecord, BlockRecord, ReservationRecord
from romana.keys import Network

__all__ = ["block_findings", "reservation_findings"]

NAMED_MAX = 5  # addresses that a finding names


def block_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Of every block."""
    yield from _overlaps(snapshot)
    held = _Held(snapshot.addresses.values())
    nodes = {kept.value.uid: kept for kept in snapshot.nodes.values()}
    masks = {(p.network, p.path): p.block_mask for p in (snapshot.topology.prefixes if snapshot.topology else ())}
    for kept in snapshot.blocks.values():
        block, node = kept.value, nodes.get(kept.value.node_uid)
        if node is None:  # it comes back by itself, once nothing in it is held or cools
            if inside := held.inside(block.network, block.cidr):
                yield _owner_gone(kept, inside)
            continue
        place = node.value.placement(block.network)
        facts = (_block_fact(kept), Fact(node.key, node.revision, f"in group {place.cidr if place else 'none'}"))
        action = "none: apply the topology that it was claimed under, or drain the node and remove it"
        if place is None or not _within(block.cidr, place.cidr):
            yield Finding(Kind.BLOCK_MISPLACED, kept.key, block.node, str(block.cidr), facts, action)
        elif masks.get((place.network, place.path)) != block.cidr.prefixlen:
            mask = masks.get((place.network, place.path))
            size = Fact("topology", 0, f"blocks of group {place.path} are /{mask}")
            yield Finding(Kind.BLOCK_MISPLACED, kept.key, block.node, str(block.cidr), (*facts, size), action)


def reservation_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Of every reservation of an operator."""
    held = _Held(snapshot.addresses.values())
    networks = {network.name: network.cidr for network in (snapshot.topology.document.networks if snapshot.topology else ())}
    for kept in snapshot.reservations.values():
        value = kept.value
        own = Fact(kept.key, kept.revision, value.note or "no note")
        cidr = str(value.cidr)
        if value.network not in networks or not _within(value.cidr, networks[value.network]):
            text = f"none: it keeps nothing back; romana ipam release-reservation {cidr}"
            yield Finding(Kind.RESERVATION_OUTSIDE, kept.key, "", cidr, (own,), text, since_ms=value.since_ms)
        elif not value.confirmed:
            text = f"none: whoever made it did not finish; again: romana ipam reserve {cidr}, or romana ipam release-reservation"
            yield Finding(Kind.RESERVATION_UNCONFIRMED, kept.key, "", cidr, (own,), text, since_ms=value.since_ms)
        elif inside := held.inside(value.network, value.cidr):
            text = "none: the pods that have them keep them; delete these pods"
            yield Finding(Kind.RESERVATION_HELD, kept.key, "", cidr, (own, *_named(inside)), text, since_ms=_since(kept, inside))


def _owner_gone(kept: Kept[BlockRecord], inside: Sequence[Kept[AddressRecord]]) -> Finding:
    block = kept.value
    facts = (_block_fact(kept), Fact(f"node uid {block.node_uid}", 0, "no node has it"), *_named(inside))
    action = "none: what holds addresses in it is told beside this; ipamd gives it back when these have cooled"
    return Finding(Kind.BLOCK_OWNER_GONE, kept.key, block.node, str(block.cidr), facts, action)


def _overlaps(snapshot: Snapshot) -> Iterator[Finding]:
    ordered = sorted(snapshot.blocks.values(), key=lambda kept: (kept.value.cidr.version, int(kept.value.cidr.network_address)))
    for low, high in pairwise(ordered):
        one, two = low.value.cidr, high.value.cidr
        if one.version == two.version and int(one.broadcast_address) >= int(two.network_address):
            action = "none: addresses may be given out twice; drain one of the two nodes and remove it"
            facts = (_block_fact(low), _block_fact(high))
            yield Finding(Kind.BLOCK_OVERLAP, high.key, high.value.node, f"{one}, {two}", facts, action)


class _Held:
    """Held addresses in order, to find those inside a prefix without looking at all."""

    def __init__(self, addresses: Iterable[Kept[AddressRecord]]) -> None:
        held = [kept for kept in addresses if kept.value.held]
        self._found = sorted(held, key=_place)
        self._places = [_place(kept) for kept in self._found]

    def inside(self, network: str, cidr: Network) -> list[Kept[AddressRecord]]:
        low, high = int(cidr.network_address), int(cidr.broadcast_address)
        first = bisect_left(self._places, (network, cidr.version, low))
        last = bisect_left(self._places, (network, cidr.version, high + 1))
        return self._found[first:last]


def _place(kept: Kept[AddressRecord]) -> tuple[str, int, int]:
    return kept.value.network, kept.value.ip.version, int(kept.value.ip)


def _named(inside: Sequence[Kept[AddressRecord]]) -> list[Fact]:
    facts = [Fact(kept.key, kept.revision, f"held by {kept.value.attachment}") for kept in inside[:NAMED_MAX]]
    more = len(inside) - NAMED_MAX
    return [*facts, Fact("addresses", 0, f"{more} more are held")] if more > 0 else facts


def _since(kept: Kept[ReservationRecord], inside: Sequence[Kept[AddressRecord]]) -> int:
    return max(kept.value.since_ms, min(address.value.since_ms for address in inside))


def _block_fact(kept: Kept[BlockRecord]) -> Fact:
    return Fact(kept.key, kept.revision, f"of node {kept.value.node}, uid {kept.value.node_uid}")


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer
