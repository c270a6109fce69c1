"""How full networks, groups and nodes are, counted by blocks. Pure.

    groups (which blocks are taken) ──┐
    blocks (which addresses are) ─────┼──→ one tally for each network, group, and node in a network
    nodes (where they stand) ─────────┘

A block is counted by its bits, so the cost is O(blocks + groups + nodes), whatever the number of addresses. All rows come from
the same values: a network's numbers are the sums of its groups', and its blocks are those of its nodes' rows.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ipam.blocks import Block, GroupBlocks, recounted
from ipam.records import NodeRecord
from ipam.topology.carving import Prefix
from ipam.topology.document import NetworkSpec
from romana.keys import Network

__all__ = ["GroupUsage", "NetworkUsage", "NodeUsage", "Owned", "Tally", "Usage", "block_tally", "stand", "usage"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Addresses by how they stand: `total` is the sum of the next four."""

    total: int = 0
    allocated: int = 0
    cooling: int = 0
    """Released, the cool-down not over."""
    reserved: int = 0
    """Reserved, and neither allocated nor cooling."""
    free: int = 0
    """Never used, or cooled."""
    blocks_used: int = 0
    blocks_left: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            self.total + other.total,
            self.allocated + other.allocated,
            self.cooling + other.cooling,
            self.reserved + other.reserved,
            self.free + other.free,
            self.blocks_used + other.blocks_used,
            self.blocks_left + other.blocks_left,
        )


@dataclass(frozen=True, slots=True)
class Owned:
    """A block that is taken, and whose it is; an empty node: nobody's any more, while addresses of it are left."""

    network: str
    block: Block
    node: str


@dataclass(frozen=True, slots=True)
class NetworkUsage:
    """A network: all its groups together."""

    network: str
    cidr: Network
    tally: Tally
    padded: int
    """Addresses in no group."""


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """A leaf of the topology in one network."""

    group: GroupBlocks
    nodes: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What a node has of one network; an empty name: blocks that nobody owns any more."""

    network: str
    node: str
    path: str
    """The group that it stands in; empty: none in this network."""
    draining: bool
    tally: Tally


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything, in the order of the topology; nodes by network and name."""

    networks: tuple[NetworkUsage, ...]
    groups: tuple[GroupUsage, ...]
    nodes: tuple[NodeUsage, ...]


Leaf = tuple[str, str]
"""Network and path."""


def usage(
    networks: Sequence[NetworkSpec],
    prefixes: Sequence[Prefix],
    groups: Mapping[Leaf, GroupBlocks],
    nodes: Sequence[NodeRecord],
    blocks: Iterable[Owned],
    now_s: float,
) -> Usage:
    """How full everything is. `prefixes` follow from `networks`, `groups` are those that are no pads; `now_s` is monotonic."""
    in_groups: defaultdict[Leaf, _Sum] = defaultdict(_Sum)
    by_node: defaultdict[tuple[str, str], _Sum] = defaultdict(_Sum)
    leaf_of = _Leaves(groups)
    for owned in blocks:
        counted = stand(owned.block, now_s)
        by_node[owned.network, owned.node].add(owned.block, counted)
        leaf = leaf_of.find(owned.network, owned.block)
        if leaf is not None:
            in_groups[leaf].add(owned.block, counted)
    places = {(place.network, node.name): place.path for node in nodes for place in node.placements}
    standing = Counter((network, path) for (network, _), path in places.items())
    of_groups = tuple(GroupUsage(group, standing[leaf], _group_tally(group, in_groups[leaf])) for leaf, group in groups.items())
    left = {leaf: row.tally.blocks_left for leaf, row in zip(groups, of_groups, strict=True)}
    draining = {node.name for node in nodes if node.draining}
    of_nodes = tuple(
        NodeUsage(network, name, path, name in draining, by_node[network, name].tally(left.get((network, path), 0)))
        for network, name in sorted(places.keys() | by_node.keys())
        for path in [places.get((network, name), "")]
    )
    return Usage(_network_rows(networks, prefixes, of_groups), of_groups, of_nodes)


def block_tally(block: Block, now_s: float) -> Tally:
    """How the addresses of one block stand."""
    found = _Sum()
    found.add(block, stand(block, now_s))
    return found.tally(0)


def stand(block: Block, now_s: float) -> tuple[int, int, int]:
    """How many addresses of a block are allocated, cool, and are reserved (in use neither way), at `now_s` (monotonic).

    Plain numbers: this is done for every block of the cluster.
    """
    released = len(block.cooling)
    cooled = bisect_right(block.cooling, now_s, key=lambda entry: entry.ready_s) if released else 0
    reserved = 0
    if block.reserved:  # one that has cooled and is reserved is given out as little as one never used
        reserved = block.unused_reserved() + sum(block.is_reserved(entry.offset) for entry in block.cooling[:cooled])
    return block.held.bit_count(), released - cooled, reserved


class _Sum:
    """Of the blocks of a group, or of a node."""

    __slots__ = ("allocated", "blocks", "cooling", "reserved", "reserved_in_use", "reserved_whole", "total")

    def __init__(self) -> None:
        self.total = self.allocated = self.cooling = self.reserved = 0
        self.blocks: list[Network] = []
        self.reserved_in_use = 0
        """Reserved addresses that are allocated or cool, and so count as that."""
        self.reserved_whole = 0
        """Blocks of which every address is reserved."""

    def add(self, block: Block, stand: tuple[int, int, int]) -> None:
        allocated, cooling, reserved = stand
        self.total += block.size
        self.allocated += allocated
        self.cooling += cooling
        self.blocks.append(block.cidr)
        if block.reserved:
            self.reserved += reserved
            inside = sum(end - start for start, end in block.reserved)
            self.reserved_in_use += inside - reserved
            self.reserved_whole += inside == block.size

    def tally(self, blocks_left: int) -> Tally:
        free = self.total - self.allocated - self.cooling - self.reserved
        return Tally(self.total, self.allocated, self.cooling, self.reserved, free, len(self.blocks), blocks_left)


class _Leaves:
    """Finds the group that a block lies in, by where groups begin."""

    def __init__(self, groups: Mapping[Leaf, GroupBlocks]) -> None:
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[tuple[int, Leaf]]] = {}
        for leaf in sorted(groups, key=lambda leaf: int(groups[leaf].cidr.network_address)):
            cidr = groups[leaf].cidr
            self._starts.setdefault(leaf[0], []).append(int(cidr.network_address))
            self._ends.setdefault(leaf[0], []).append((int(cidr.broadcast_address), leaf))

    def find(self, network: str, block: Block) -> Leaf | None:
        start = int(block.cidr.network_address)
        index = bisect_right(self._starts.get(network, ()), start) - 1
        if index < 0:
            return None
        end, leaf = self._ends[network][index]
        return leaf if start <= end else None


def _group_tally(group: GroupBlocks, found: _Sum) -> Tally:
    total = 1 << (group.cidr.max_prefixlen - group.cidr.prefixlen)
    low, high = int(group.cidr.network_address), int(group.cidr.broadcast_address) + 1
    first = bisect_right(group.reserved, low, key=lambda bounds: bounds[1])
    last = bisect_left(group.reserved, high, key=lambda bounds: bounds[0])
    own = replace(group, reserved=group.reserved[first:last])
    reserved = sum(min(end, high) - max(start, low) for start, end in own.reserved) - found.reserved_in_use
    free = total - found.allocated - found.cooling - reserved
    return Tally(total, found.allocated, found.cooling, reserved, free, len(found.blocks), _blocks_left(own, found))


def _blocks_left(group: GroupBlocks, found: _Sum) -> int:
    """Without claims that are under way, which `group` counts as taken: no node's row has them yet."""
    if any(cidr.prefixlen != group.block_mask for cidr in found.blocks):  # of an earlier topology; seldom
        return recounted(group, found.blocks).free
    whole = sum(end - start for start, end in group.reserved_runs()) - found.reserved_whole
    return group.total - len(found.blocks) - whole


def _network_rows(
    networks: Sequence[NetworkSpec], prefixes: Sequence[Prefix], groups: Iterable[GroupUsage]
) -> tuple[NetworkUsage, ...]:
    sums = {network.name: Tally() for network in networks}
    padded = dict.fromkeys(sums, 0)
    for prefix in prefixes:
        padded[prefix.network] += prefix.cidr.num_addresses if prefix.pad else 0
    for row in groups:
        sums[row.group.network] = sums[row.group.network].plus(row.tally)
    return tuple(NetworkUsage(network.name, network.cidr, sums[network.name], padded[network.name]) for network in networks)
