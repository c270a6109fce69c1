"""What must hold of every address, attachment, endpoint, block and reservation, at every revision. No I/O.

Every transaction of ipamd keeps all of this at once, so it is judged at the end of each revision, for what that touched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ipam.records import AddressRecord, AttachmentRecord, BlockRecord
from romana import keys
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.picture import Changes, Picture

__all__ = ["judge_all", "judge_touched", "kept_back"]


@dataclass(frozen=True, slots=True)
class _Touched:
    """Keys to judge; some of them may not be there (any more)."""

    addresses: Iterable[str]
    attachments: Iterable[str]
    endpoints: Iterable[str]
    blocks: Iterable[str]


def judge_touched(picture: Picture, changes: Changes) -> Iterator[Finding]:
    """Judge what a revision touched; the picture has it already."""
    if changes.topology:
        yield from judge_all(picture)
        return
    yield from _judge(picture, _touched(picture, changes))
    if any(change.after for change in changes.reservations):
        yield from _reserved(picture)


def judge_all(picture: Picture) -> Iterator[Finding]:
    """Judge everything."""
    yield from _judge(picture, _Touched(picture.addresses, picture.attachments, picture.endpoints, picture.blocks))
    yield from _reserved(picture)


def kept_back(picture: Picture, record: AddressRecord, *, confirmed: bool) -> Iterator[str]:
    """Keys of what keeps the address from being given out; of reservations only those that are `confirmed`, if so asked."""
    for key, reservation in picture.reservations.items():
        if reservation.network == record.network and record.ip in reservation.cidr and (reservation.confirmed or not confirmed):
            yield key
    networks = picture.topology.document.networks if picture.topology else ()
    if any(network.name == record.network and any(record.ip in cidr for cidr in network.reserved) for network in networks):
        yield keys.TOPOLOGY


def _touched(picture: Picture, changes: Changes) -> _Touched:
    addresses = {change.key for change in changes.addresses}
    attachments = {change.key for change in changes.attachments}
    endpoints = {change.key for change in changes.endpoints}
    blocks = {change.key for change in changes.blocks}
    for node in (record for change in changes.nodes for record in (change.before, change.after) if record):
        blocks |= picture.of_uid.get(node.uid, set())
        attachments |= picture.on_node.get(node.name, set())
    for key in blocks:
        addresses |= picture.in_block.get(key, set())
    for address in (record for change in changes.addresses for record in (change.before, change.after) if record):
        attachments |= {address.attachment.key} if address.attachment else set()
    for attachment in (record for change in changes.attachments for record in (change.before, change.after) if record):
        addresses |= {keys.address(assigned.network, assigned.ip) for assigned in attachment.addresses}
        endpoints |= picture.at_interface.get(attachment.id.host_interface, set())
    for endpoint in (change.before for change in changes.endpoints if change.before):
        attachments |= {key for ip in endpoint.ips for key in picture.having.get(ip, ())}
    return _Touched(addresses, attachments, endpoints, blocks)


def _judge(picture: Picture, touched: _Touched) -> Iterator[Finding]:
    for key in touched.addresses:
        if key in picture.addresses:
            yield from _address(picture, key, picture.addresses[key])
    for key in touched.attachments:
        if key in picture.attachments:
            yield from _attachment(picture, key, picture.attachments[key])
    for key in touched.endpoints:
        if key in picture.endpoints:
            yield from _endpoint(picture, key)
    for key in touched.blocks:
        if key in picture.blocks:
            yield from _block(picture, key, picture.blocks[key])


def _address(picture: Picture, key: str, record: AddressRecord) -> Iterator[Finding]:
    def found(invariant: str, text: str, *more: str) -> Finding:
        return Finding(invariant, f"address {record.network}/{record.ip} {text}", (key, *more), picture.revision)

    block_key = keys.block(record.network, record.block)
    block = picture.blocks.get(block_key)
    if record.ip not in record.block:
        yield found("I3", f"does not lie in its block {record.block}", block_key)
    if block is None:
        yield found("I4", f"lies in block {record.block}, which nobody has", block_key)
    if record.attachment is None:
        yield found("I1", "names no attachment")
        return
    holder = picture.attachments.get(record.attachment.key)
    holds = holder is not None and any((a.network, a.ip) == (record.network, record.ip) for a in holder.addresses)
    if record.held != holds:
        state, has = "held" if record.held else "cooling", "has it" if holds else "has it not"
        yield found("I1", f"is {state}, and its attachment {has}", record.attachment.key)
    if record.held and holder and block:
        if block.node_uid != holder.node_uid:
            yield found("I4", f"is held by uid {holder.node_uid}, its block is {block.node_uid}'s", block_key, holder.id.key)
        if block.share.tenant and (holder.pod is None or holder.pod.namespace != block.share.tenant):
            yield found("I4", f"is held by {holder.pod}, its block is tenant {block.share.tenant}'s", block_key, holder.id.key)


def _attachment(picture: Picture, key: str, record: AttachmentRecord) -> Iterator[Finding]:
    def found(invariant: str, text: str, *more: str) -> Finding:
        return Finding(invariant, f"attachment {record.id} {text}", (key, *more), picture.revision)

    if picture.uids.get(record.node_uid) != record.id.node:
        yield found("I9", f"is of uid {record.node_uid}, and no such incarnation of its node is there", keys.node(record.id.node))
    for assigned in record.addresses:
        address_key = keys.address(assigned.network, assigned.ip)
        address = picture.addresses.get(address_key)
        if address is None or not address.held or address.attachment != record.id:
            yield found("I1", f"has {assigned.ip}, which is {_whose(address)}", address_key)
        others = picture.having.get(assigned.ip, set()) - {key}
        if others:
            yield found("I1", f"has {assigned.ip}, and so have others", *sorted(others))
    own = [picture.endpoints[key] for key in picture.at_interface.get(record.id.host_interface, ())]
    if [endpoint.ips for endpoint in own] != [tuple(assigned.ip for assigned in record.addresses)]:
        yield found("I5", f"has {len(own)} endpoints, and not one with its addresses", *record.endpoint_keys)


def _endpoint(picture: Picture, key: str) -> Iterator[Finding]:
    endpoint = picture.endpoints[key]
    holders = {holder for ip in endpoint.ips for holder in picture.having.get(ip, ())}
    if not any(picture.attachments[holder].id.host_interface == endpoint.host_interface for holder in holders):
        yield Finding("I5", f"endpoint {key} belongs to no attachment", (key,), picture.revision)


def _block(picture: Picture, key: str, record: BlockRecord) -> Iterator[Finding]:
    def found(invariant: str, text: str, *more: str) -> Finding:
        return Finding(invariant, f"block {record.cidr} of {record.node} {text}", (key, *more), picture.revision)

    others = picture.overlapping(key)
    if others:
        yield found("I3", "overlaps others", *others)
    name = picture.uids.get(record.node_uid)
    if name is None:
        return  # its node was removed, and what is in it cools; that none is held is its attachment's I9
    place = picture.nodes[keys.node(name)].placement(record.network)
    inside = place is not None and record.cidr.network_address in place.cidr and record.cidr.prefixlen >= place.cidr.prefixlen
    if name != record.node or place is None or not inside:
        yield found("I3", f"does not lie in the group of its node: {place}", keys.node(name))
        return
    masks = {
        prefix.block_mask for prefix in picture.prefixes(place.network) if (prefix.path, prefix.cidr) == (place.path, place.cidr)
    }
    if masks != {record.cidr.prefixlen}:
        yield found("I12", f"does not lie in a group of the topology with blocks of that size: {masks}", keys.TOPOLOGY)


def _reserved(picture: Picture) -> Iterator[Finding]:
    for key, record in picture.addresses.items():
        by = tuple(kept_back(picture, record, confirmed=True)) if record.held else ()
        if by:
            yield Finding("I10", f"address {record.network}/{record.ip} is held, and reserved", (key, *by), picture.revision)


def _whose(address: AddressRecord | None) -> str:
    if address is None:
        return "nobody's"
    return f"{address.attachment}'s" if address.held else f"cooling, {address.attachment} was the last"
