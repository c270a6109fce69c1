"""Says what is wrong with what ipamd wrote, from the store alone; each line begins with the invariant that it breaks.

    I1   an address has one live attachment             I5   an attachment, its addresses, its endpoint and their holder agree
    I2   what was acknowledged is there                 I8   nothing is left of what no attachment has
    I3   blocks overlap nothing and lie in their group  I9   an incarnation of a node owns blocks and attachments, not its name
    I4   a used block has an owner                      I10  held, cooling and free are all of a block, nothing held is reserved,
    I12  a change of the topology strands nothing            and the index of a running ipamd agrees

I6 (a release frees nothing that was given anew) shows as I1, I2 or I5. What only the way from one revision to the next can show,
`romana.bench.hammer` judges (docs/hammer.md), and tests/property/test_ipam_machine.py by what callers were told.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from ipam import codec, codec_address
from ipam.records import AddressRecord, AttachmentRecord, BlockRecord, NodeRecord
from ipam.state import State
from romana import keys
from romana.store.api import KeyValue, Store
from romana.v1 import store_pb2

__all__ = ["faults", "index_faults"]


class _Contents:
    """Everything in the store, decoded."""

    def __init__(self, items: tuple[KeyValue, ...]) -> None:
        by_prefix: dict[str, list[KeyValue]] = {}
        for item in items:
            by_prefix.setdefault(item.key.split("/")[0] + "/" * ("/" in item.key), []).append(item)
        self.topology = [codec.read_topology(item) for item in by_prefix.get(keys.TOPOLOGY, [])]
        self.nodes: dict[str, NodeRecord] = {node.name: node for node in map(codec.read_node, by_prefix.get(keys.NODES, []))}
        self.blocks: list[BlockRecord] = [codec.read_block(item) for item in by_prefix.get(keys.BLOCKS, [])]
        self.addresses: list[AddressRecord] = [codec_address.read_address(item) for item in by_prefix.get(keys.ADDRESSES, [])]
        self.attachments: dict[str, AttachmentRecord] = {
            item.key: codec_address.read_attachment(item) for item in by_prefix.get(keys.ATTACHMENTS, [])
        }
        self.endpoints = {item.key: store_pb2.Endpoint.FromString(item.value) for item in by_prefix.get(keys.ENDPOINTS, [])}
        self.reservations = [codec.read_reservation(item) for item in by_prefix.get(keys.RESERVATIONS, [])]
        self.journal = [store_pb2.JournalRecord.FromString(item.value) for item in by_prefix.get(keys.JOURNAL, [])]


async def faults(store: Store, acknowledged: Mapping[str, str] | None = None) -> list[str]:
    """All that is wrong; empty when nothing is. `acknowledged`: attachment key -> address that a caller was told and kept."""
    contents = _Contents((await store.list("")).items)
    return [
        *_address_faults(contents),
        *_attachment_faults(contents),
        *_incarnation_faults(contents),
        *_reserved_faults(contents),
        *_block_faults(contents),
        *_journal_faults(contents),
        *_acknowledged_faults(contents, acknowledged or {}),
    ]


def _address_faults(contents: _Contents) -> Iterator[str]:
    blocks = {(block.network, block.cidr): block for block in contents.blocks}
    for record in contents.addresses:
        where = f"address {record.network}/{record.ip}"
        block = blocks.get((record.network, record.block))
        if record.ip not in record.block:
            yield f"I3: {where} does not lie in its block {record.block}"
        if block is None:
            yield f"I4: {where} lies in block {record.block}, which nobody has"
        if record.attachment is None:
            yield f"I5: {where} names no attachment"
            continue
        holder = contents.attachments.get(record.attachment.key)
        holds = holder is not None and any(address.ip == record.ip for address in holder.addresses)
        if record.held != holds:
            yield f"I5: {where} is {'held' if record.held else 'cooling'}, its attachment {'has it' if holds else 'has it not'}"
        if block and record.held and holder and block.node_uid != holder.node_uid:
            yield f"I9: {where} is held by {holder.id} of node uid {holder.node_uid}, its block is {block.node_uid}'s"


def _attachment_faults(contents: _Contents) -> Iterator[str]:
    held = {(record.network, record.ip): record for record in contents.addresses if record.held}
    for attachment in contents.attachments.values():
        for address in attachment.addresses:
            record = held.get((address.network, address.ip))
            if record is None or record.attachment != attachment.id:
                yield f"I1: attachment {attachment.id} has {address.ip}, which is {record.attachment if record else 'nobody'}'s"
        own = [
            endpoint
            for key in attachment.endpoint_keys
            if (endpoint := contents.endpoints.get(key)) and endpoint.host_interface == attachment.id.host_interface
        ]
        if [list(endpoint.addresses) for endpoint in own] != [[str(address.ip) for address in attachment.addresses]]:
            yield f"I5: attachment {attachment.id} has not one endpoint with its addresses"
    for ip, count in Counter(a.ip for attachment in contents.attachments.values() for a in attachment.addresses).items():
        if count > 1:
            yield f"I1: {ip} belongs to {count} attachments"
    interfaces = {attachment.id.host_interface for attachment in contents.attachments.values()}
    for key, endpoint in contents.endpoints.items():
        if endpoint.host_interface not in interfaces:
            yield f"I8: endpoint {key} belongs to no attachment"


def _incarnation_faults(contents: _Contents) -> Iterator[str]:
    for attachment in contents.attachments.values():
        node = contents.nodes.get(attachment.id.node)
        if node is None or node.uid != attachment.node_uid:
            there = node.uid if node else "not there"
            yield f"I9: attachment {attachment.id} is of uid {attachment.node_uid}, its node is {there}"


def _reserved_faults(contents: _Contents) -> Iterator[str]:
    reserved = [(record.network, record.cidr) for record in contents.reservations if record.confirmed]
    networks = [network for record in contents.topology for network in record.document.networks]
    reserved += [(network.name, cidr) for network in networks for cidr in network.reserved]
    for record in contents.addresses:
        if record.held and any(network == record.network and record.ip in cidr for network, cidr in reserved):
            yield f"I10: address {record.network}/{record.ip} is held, and reserved"


def _block_faults(contents: _Contents) -> Iterator[str]:
    ordered = sorted(contents.blocks, key=lambda block: (block.cidr.version, int(block.cidr.network_address)))
    for low, high in pairwise(ordered):
        if low.cidr.version == high.cidr.version and int(low.cidr.broadcast_address) >= int(high.cidr.network_address):
            yield f"I3: blocks {low.cidr} of {low.node} and {high.cidr} of {high.node} overlap"
    uids = {node.uid: node for node in contents.nodes.values()}
    masks = {(prefix.network, prefix.path): prefix.block_mask for record in contents.topology for prefix in record.prefixes}
    held = {(address.network, address.block) for address in contents.addresses if address.held}
    for block in contents.blocks:
        node = uids.get(block.node_uid)
        if node is None:  # it was removed, and what is in its blocks cools
            if (block.network, block.cidr) in held:
                yield f"I9: block {block.cidr} of {block.node} has held addresses, and its node is no more"
            continue
        # One with live addresses is stranded; one without is in a place where none is.
        name = "I12" if (block.network, block.cidr) in held else "I3"
        place = node.placement(block.network)
        if place is None or block.cidr.network_address not in place.cidr or block.cidr.prefixlen < place.cidr.prefixlen:
            yield f"{name}: block {block.cidr} of {block.node} does not lie in the group of its node"
        elif masks.get((place.network, place.path)) != block.cidr.prefixlen:
            yield f"{name}: block {block.cidr} of {block.node} has not the size that the topology says"


def _journal_faults(contents: _Contents) -> Iterator[str]:
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for record in contents.journal:
        span = (record.since.ToMilliseconds(), record.until.ToMilliseconds())
        spans.setdefault((record.network, record.ip), []).append(span)
    for (network, ip), found in spans.items():
        for (_, end), (start, _) in pairwise(sorted(found)):
            if start < end:
                yield f"I1: the journal has two holders of {network}/{ip} at one time"


def _acknowledged_faults(contents: _Contents, acknowledged: Mapping[str, str]) -> Iterator[str]:
    for key, ip in acknowledged.items():
        attachment = contents.attachments.get(key)
        if attachment is None or ip not in {str(address.ip) for address in attachment.addresses}:
            yield f"I2: {key} was told that it has {ip}, and has {attachment.addresses if attachment else 'nothing'}"


async def index_faults(store: Store, state: State) -> list[str]:
    """Where what a running ipamd counts as used in its nodes' blocks differs from the store; it must have caught up."""
    contents = _Contents((await store.list("")).items)
    lines = []
    uids = {node.uid for node in contents.nodes.values()} | {block.node_uid for block in contents.blocks}
    for uid in uids:
        for network, block in state.occupancy.owned(uid):
            inside = [a for a in contents.addresses if (a.network, a.block) == (network, block.cidr)]
            held = sum(1 << block.offset(a.ip) for a in inside if a.held)
            cooling = sum(1 << block.offset(a.ip) for a in inside if not a.held)
            if (held, cooling) != (block.held, block.cooling_bits):
                lines.append(f"I10: block {block.cidr}: the index has other addresses than the store")
            if held.bit_count() + cooling.bit_count() + (~(held | cooling) & (1 << block.size) - 1).bit_count() != block.size:
                lines.append(f"I10: block {block.cidr}: held, cooling and free are not all of it")
    owned = {(network, str(block.cidr)) for uid in uids for network, block in state.occupancy.owned(uid)}
    stored = {(block.network, str(block.cidr)) for block in contents.blocks}
    return lines + ([f"I10: the index has blocks {owned}, the store {stored}"] if owned != stored else [])
