"""Prefixes and nodes as the topology API shows them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from ipam.blocks import Block
from ipam.codec import timestamp
from ipam.fullness import FullGroup, Need
from ipam.orphans import Returning
from ipam.records import BlockRecord
from ipam.topology.carving import Prefix, blocks_total
from ipam.topology.pending import Pending
from ipam.topology.placement import Placement, Placements
from ipam.usage import block_tally
from romana.v1 import node_pb2, store_pb2, topology_pb2

__all__ = ["block_message", "full_message", "left_messages", "pending_message", "prefix_messages", "returning_message"]

UINT64_MAX = 2**64 - 1  # IPv6 has room for more blocks than a field has numbers

_NEEDS = {Need.OUT: topology_pb2.NEED_OUT, Need.COOLING: topology_pb2.NEED_COOLING, Need.NEAR: topology_pb2.NEED_NEAR}


def prefix_messages(
    prefixes: Sequence[Prefix], nodes: Mapping[str, Placements], blocks: Iterable[BlockRecord]
) -> list[topology_pb2.Prefix]:
    """Every prefix with the nodes that stand in it (by name) and how many of its blocks are in somebody's hands."""
    names: dict[tuple[str, str], list[str]] = {}
    for name in sorted(nodes):
        for place in nodes[name]:
            names.setdefault((place.network, place.path), []).append(name)
    starts: dict[str, list[int]] = {}
    for block in blocks:
        starts.setdefault(block.network, []).append(int(block.cidr.network_address))
    for found in starts.values():
        found.sort()
    return [_message(prefix, names.get((prefix.network, prefix.path), ()), starts.get(prefix.network, ())) for prefix in prefixes]


def _message(prefix: Prefix, names: Sequence[str], starts: Sequence[int]) -> topology_pb2.Prefix:
    low, high = int(prefix.cidr.network_address), int(prefix.cidr.broadcast_address)
    return topology_pb2.Prefix(
        network=prefix.network,
        path=prefix.path,
        name=prefix.name,
        cidr=str(prefix.cidr),
        pad=prefix.pad,
        nodes=names,
        block_mask=prefix.block_mask,
        blocks_owned=bisect_right(starts, high) - bisect_left(starts, low),
        blocks_total=min(blocks_total(prefix), UINT64_MAX),
        assignment=dict(prefix.assignment),
        routing=prefix.routing,
    )


def block_message(network: str, block: Block, now_s: float) -> node_pb2.NodeBlock:
    """A node's block and how its addresses stand; those that have cooled count as free. `now_s` is monotonic."""
    tally = block_tally(block, now_s)
    return node_pb2.NodeBlock(
        network=network,
        cidr=str(block.cidr),
        held=tally.allocated,
        cooling=tally.cooling,
        free=min(tally.free, 2**32 - 1),
        reserved=min(tally.reserved, 2**32 - 1),
    )


def full_message(group: FullGroup) -> topology_pb2.FullGroup:
    """A full group as the API tells it."""
    owners = [
        topology_pb2.ShortOwner(node=owner.node, tenant=owner.tenant, segment=owner.segment, need=_NEEDS[owner.need])
        for owner in group.owners
    ]
    return topology_pb2.FullGroup(
        network=group.network,
        path=group.path,
        name=group.name,
        cidr=str(group.cidr),
        block_mask=group.block_mask,
        blocks=min(group.blocks, UINT64_MAX),
        reserved=min(group.reserved, UINT64_MAX),
        returning=group.returning,
        urgent=group.urgent,
        owners=owners,
        help=group.help,
    )


def returning_message(block: Returning, now_s: float, now_ms: int) -> topology_pb2.ReturningBlock:
    """A block on its way back. `now_s` (monotonic) and `now_ms` (UTC since 1970) are the same moment."""
    ready_ms = now_ms + round((block.ready_s - now_s) * 1000)
    return topology_pb2.ReturningBlock(
        network=block.network,
        cidr=str(block.cidr),
        node=block.node,
        node_uid=block.node_uid,
        held=block.held,
        cooling=block.cooling,
        ready=timestamp(max(ready_ms, now_ms)),
    )


def pending_message(move: Pending) -> node_pb2.PendingMove:
    """A move that waits for its node to be drained."""
    after = _place(move.after) if move.after else ""
    return node_pb2.PendingMove(node=move.node, network=move.before.network, before=_place(move.before), after=after)


def _place(place: Placement) -> str:
    return f"{place.name} {place.cidr}"


def left_messages(left: Iterable[store_pb2.Attachment]) -> list[node_pb2.LeftAttachment]:
    """Attachments that keep a node from being drained."""
    return [
        node_pb2.LeftAttachment(
            key=one.key, pod=one.pod if one.HasField("pod") else None, addresses=[address.ip for address in one.addresses]
        )
        for one in left
    ]
