"""Every transaction by which ipamd changes what the store holds: what it compares, what it writes, what it reads when it fails.

    allocate   attachment, endpoint absent; address, block, node (and pod) as seen;  ->  address, attachment, endpoint
               no recovery of a restored store under way (ipam.recovery)
               no reservation and no topology written since
    release    attachment, endpoint, addresses as seen  ->  addresses cool, attachment and endpoint deleted, journal written
    claim      topology, node as seen; block absent; no recovery under way           ->  block
    add node   topology, node as seen; no node written since                         ->  node
    apply      topology as seen; no node, no block written since, and no address of  ->  topology, nodes; blocks given back
               the networks where blocks are given back (ipam.giving_back), or
               addresses kept back; in the first case no recovery under way
    forget     addresses as seen (their cool-down is over)                           ->  addresses deleted
    place      topology, nodes as seen                                               ->  nodes
    move       topology, node as seen; no node, no block written since; no recovery  ->  node
               under way
    change     node as seen                                                          ->  node
    remove     node as seen; none of its attachments is there; no recovery under way ->  node deleted
    orphan     block, its owner's name and the addresses in it as seen;              ->  block and addresses deleted
               no recovery under way
    spare      block, its owner's other empty blocks, and all addresses in it as     ->  block and addresses deleted
               seen (ipam.spares); no recovery under way

So several ipamd never give one address or block twice, and a change of the topology is serialised with both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from ipam import codec, codec_address, codec_allocation
from ipam.commit import Txn
from ipam.giving_back import GivingBack
from ipam.records import AddressRecord, AttachmentRecord, BlockRecord, NodeRecord, TopologyRecord
from ipam.table import Row
from romana import keys
from romana.store.api import Compare, CompareField, CompareOp, Delete, KeyValue, Put

__all__ = [
    "add_node",
    "allocate",
    "apply",
    "change_node",
    "claim",
    "forget",
    "give_back_orphan",
    "give_back_spare",
    "move_node",
    "place",
    "release",
    "remove_node",
]

_NOT_RECOVERING = Compare.absent(keys.RESTORED)
"""A restored store does not know what lives: nothing is given out, and no block given back, before nodes have said it."""


def allocate(
    attachment: AttachmentRecord,
    node: Row[NodeRecord],
    taken: Sequence[tuple[Row[AddressRecord] | None, Row[BlockRecord]]],
    endpoint_key: str,
    pod: KeyValue | None,
    reservations_seen: int,
    topology_seen: int,
) -> Txn:
    """Give an attachment its addresses; `taken` has, for each, its row as seen (None: never used) and its block.

    All reservations were known up to the revision `reservations_seen`, the topology up to `topology_seen`.
    """
    key, values = attachment.id.key, codec_allocation.write(attachment)
    compares = [Compare.absent(key), Compare.absent(endpoint_key), _unchanged(node), _NOT_RECOVERING]
    # As a prefix, so that a conflict does not read a document of 10,000 groups.
    compares += [_not_since(keys.RESERVATIONS, reservations_seen), _not_since(keys.TOPOLOGY, topology_seen)]
    records: list[tuple[str, object]] = []
    writes = [Put(key, values.attachment), Put(endpoint_key, values.endpoint)]
    for address, value, (row, block) in zip(attachment.addresses, values.addresses, taken, strict=True):
        record = AddressRecord(address.network, address.ip, address.block, attachment.id, attachment.pod, attachment.created_ms)
        records.append((address.key, record))
        compares += [Compare.at(address.key, row.mod_revision if row else 0), _unchanged(block)]
        writes.append(Put(address.key, value))
    if pod is not None:
        compares.append(Compare(pod.key, CompareField.CREATE, CompareOp.EQUAL, pod.create_revision))
    return Txn(tuple(compares), tuple(writes), tuple(records))


def release(attachment: KeyValue, endpoint: KeyValue | None, held: Sequence[tuple[Row[AddressRecord], int]], now_ms: int) -> Txn:
    """Take an attachment's addresses back.

    `endpoint` is its own; `held` are those of its addresses that it (still) holds, with how long each is to rest, in seconds.
    """
    compares = [Compare.unchanged(attachment)]
    writes: list[Put | Delete] = [Delete(attachment.key)]
    if endpoint is not None:
        compares.append(Compare.unchanged(endpoint))
        writes.append(Delete(endpoint.key))
    for row, cooldown_s in held:
        cooling = replace(row.value, released_ms=now_ms, cooldown_s=cooldown_s)
        # The address's mod_revision makes the journal's key that of this holding, whoever writes it.
        entry = keys.journal(now_ms, f"{row.value.ip}-{row.mod_revision}")
        compares.append(_unchanged(row))
        writes += [Put(row.key, codec_address.write_address(cooling)), Put(entry, codec_address.write_journal(cooling))]
    return _txn(compares, writes)


def claim(block: BlockRecord, topology: Row[TopologyRecord], node: Row[NodeRecord]) -> Txn:
    """Make a block the node's. That it overlaps no other is for the caller: all blocks of one topology are of one size."""
    key = keys.block(block.network, block.cidr)
    compares = [_unchanged(topology), _unchanged(node), Compare.absent(key), _NOT_RECOVERING]
    return _txn(compares, [Put(key, codec.write_block(block))])


def add_node(node: NodeRecord, old: Row[NodeRecord] | None, topology: Row[TopologyRecord] | None, seen: int) -> Txn:
    """Write a node that was decided on when all nodes were known up to revision `seen`."""
    key = keys.node(node.name)
    compares = [_at(keys.TOPOLOGY, topology), _at(key, old), _not_since(keys.NODES, seen)]
    return Txn(tuple(compares), (Put(key, codec.write_node(node)),))


def apply(
    record: TopologyRecord,
    old: Row[TopologyRecord] | None,
    nodes: Iterable[tuple[Row[NodeRecord], NodeRecord]],
    back: GivingBack,
    reserving: Sequence[str],
    seen: tuple[int, int, int],
    now_ms: int,
) -> Txn:
    """Put a topology in force, place these nodes anew, and give blocks back.

    `reserving`: networks of which it keeps back more addresses than the one before. `seen`: up to where all nodes, blocks and
    addresses were known.
    """
    compares = [_at(keys.TOPOLOGY, old), _not_since(keys.NODES, seen[0]), _not_since(keys.BLOCKS, seen[1])]
    quiet = sorted({*back.networks, *reserving})
    compares += [_not_since(f"{keys.ADDRESSES}{network}/", seen[2]) for network in quiet]
    compares += [_NOT_RECOVERING] if back.networks else []
    # Given back first, so that the state counts it as it was claimed: under the old topology.
    writes: list[Put | Delete] = [*back.deletes(), Put(keys.TOPOLOGY, codec.write_topology(record, now_ms))]
    for row, node in nodes:
        compares.append(_unchanged(row))
        writes.append(Put(row.key, codec.write_node(node)))
    return Txn(tuple(compares), tuple(writes))


def forget(cooled: Sequence[Row[AddressRecord]]) -> Txn:
    """Make addresses whose cool-down is over as if they were never used."""
    return _txn([_unchanged(row) for row in cooled], [Delete(row.key) for row in cooled])


def place(topology: Row[TopologyRecord], nodes: Iterable[tuple[Row[NodeRecord], NodeRecord]]) -> Txn:
    """Write where nodes stand in the topology in force."""
    changes = list(nodes)
    compares = [_unchanged(topology), *(_unchanged(row) for row, _ in changes)]
    return _txn(compares, [Put(row.key, codec.write_node(node)) for row, node in changes])


def move_node(node: NodeRecord, old: Row[NodeRecord], topology: Row[TopologyRecord], seen: tuple[int, int]) -> Txn:
    """Write where a node stands that has no block there any more. `seen`: up to where all nodes, and all blocks, were known."""
    compares = [_unchanged(topology), _unchanged(old), _not_since(keys.NODES, seen[0]), _not_since(keys.BLOCKS, seen[1])]
    return _txn([*compares, _NOT_RECOVERING], [Put(old.key, codec.write_node(node))])


def change_node(old: Row[NodeRecord], new: NodeRecord) -> Txn:
    """Write a node that is there and keeps its place."""
    return _txn([_unchanged(old)], [Put(old.key, codec.write_node(new))])


def remove_node(node: Row[NodeRecord]) -> Txn:
    """Delete a node without attachments."""
    below = f"{keys.ATTACHMENTS}{node.value.name}/"
    nothing_left = Compare(below, CompareField.CREATE, CompareOp.EQUAL, 0, prefix=True)
    return _txn([_unchanged(node), nothing_left, _NOT_RECOVERING], [Delete(node.key)])


def give_back_orphan(
    block: Row[BlockRecord], owner_key: str, owner: Row[NodeRecord] | None, cooled: Sequence[Row[AddressRecord]]
) -> Txn:
    """Delete a block whose owner is no more, and the addresses in it, which have cooled; `owner` is who has that name now."""
    compares = [_unchanged(block), _at(owner_key, owner), *(_unchanged(row) for row in cooled), _NOT_RECOVERING]
    return _txn(compares, [*(Delete(row.key) for row in cooled), Delete(block.key)])


def give_back_spare(
    block: Row[BlockRecord],
    kept: Sequence[Row[BlockRecord]],
    cooled: Sequence[Row[AddressRecord]],
    never_used: Iterable[str],
    seen: int | None,
) -> Txn:
    """Delete a block that its owner does not need, with the addresses in it, which have cooled.

    `never_used` are the keys of the others. For a block too large to name them, `seen` is the revision up to which all addresses
    were known.
    """
    compares = [_unchanged(block), *map(_unchanged, kept), *map(_unchanged, cooled), *map(Compare.absent, never_used)]
    if seen is not None:
        compares.append(_not_since(f"{keys.ADDRESSES}{block.value.network}/", seen))
    compares.append(_NOT_RECOVERING)
    return _txn(compares, [*(Delete(row.key) for row in cooled), Delete(block.key)])


def _txn(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Txn:
    return Txn(tuple(dict.fromkeys(compares)), tuple(writes))


def _unchanged(row: Row[NodeRecord] | Row[BlockRecord] | Row[AddressRecord] | Row[TopologyRecord]) -> Compare:
    return _same(row.key, row.mod_revision)


def _at(key: str, row: Row[NodeRecord] | Row[TopologyRecord] | None) -> Compare:
    return Compare.at(key, row.mod_revision if row else 0)


@lru_cache(maxsize=16384)  # nodes and blocks are compared by many
def _same(key: str, mod_revision: int) -> Compare:
    return Compare.at(key, mod_revision)


@lru_cache(maxsize=64)
def _not_since(prefix: str, revision: int) -> Compare:
    """Holds when no key below the prefix was written after that revision."""
    return Compare(prefix, CompareField.MOD, CompareOp.LESS, revision + 1, prefix=True)
