"""Prefixes and nodes as the topology API shows them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from ipam.blocks import Block
from ipam.records import BlockRecord
from ipam.topology.carving import Prefix, blocks_total
from ipam.topology.placement import Placements
from ipam.usage import block_tally
from romana.v1 import node_pb2, topology_pb2

__all__ = ["block_message", "prefix_messages"]


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
        # IPv6 has room for more blocks than the field has numbers.
        blocks_total=min(blocks_total(prefix), 2**64 - 1),
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
