"""Which blocks and addresses are taken: by what the store holds, and by what this process is about to write.

Fed by the tables of `ipam.state`; gives the allocator its `Holdings`. Picks and claims in flight count as taken, so two requests
in one process never choose the same; two processes may, and then etcd lets one of them through.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from ipam.allocator import Holdings
from ipam.blocks import Block, GroupBlocks, Ranges, group_blocks, ranges_of, recounted, reserved_in
from ipam.records import AddressRecord, Assigned, BlockRecord, NodeRecord, Share, block_key
from ipam.table import Row
from ipam.topology.carving import Prefix
from ipam.topology.placement import Placement
from romana import keys
from romana.keys import Network

__all__ = ["NOBODY", "Group", "Occupancy", "Owner"]

Group = tuple[str, str]
"""Network and path."""

Owner = tuple[str, str, Share]
"""Node uid, network, and whose blocks of the node."""

NOBODY = Share()


class Occupancy:
    """See the module's docstring. `clock` is monotonic, in seconds: cool-down counts from when a release is first seen here.

    `freed` is called with the group that a block comes back to.
    """

    def __init__(self, clock: Callable[[], float], freed: Callable[[Group], None] = lambda _: None) -> None:
        self._clock = clock
        self._freed = freed
        self._groups: dict[Group, GroupBlocks] = {}
        self._leaves: dict[str, list[tuple[int, Group]]] = {}
        self._blocks: dict[str, Block] = {}
        self._owned: dict[Owner, list[tuple[int, str]]] = {}
        self._owner_of: dict[str, str] = {}
        self._ready_s: dict[str, float] = {}
        self._in_flight: set[str] = set()
        self._to_recount: set[Group] = set()
        self._prefixes: tuple[Prefix, ...] = ()
        self._reserved: dict[str, Ranges] = {}

    def set_topology(self, prefixes: Iterable[Prefix]) -> None:
        """Take a new set of prefixes, and count the blocks that are known into them."""
        self._prefixes = tuple(prefixes)
        self._groups = {
            (prefix.network, prefix.path): group_blocks(prefix, reserved=self._reserved.get(prefix.network, ()))
            for prefix in self._prefixes
            if not prefix.pad
        }
        self._leaves = {}
        self._to_recount.clear()
        for group, leaf in self._groups.items():
            self._leaves.setdefault(leaf.network, []).append((int(leaf.cidr.network_address), group))
        for leaves in self._leaves.values():
            leaves.sort()
        for key, block in self._blocks.items():
            self._take(keys.parse_block(key)[0], block.cidr)

    def set_reserved(self, reserved: Mapping[str, Iterable[Network]]) -> None:
        """Take all that is reserved, by network. O(all blocks); seldom."""
        ranges = {network: ranges_of(cidrs) for network, cidrs in reserved.items()}
        if ranges == self._reserved:
            return
        self._reserved = ranges
        for key, block in self._blocks.items():
            network = keys.parse_block(key)[0]
            self._blocks[key] = replace(block, reserved=reserved_in(block.cidr, ranges.get(network, ())))
        self.set_topology(self._prefixes)

    def set_block(self, old: Row[BlockRecord] | None, new: Row[BlockRecord] | None) -> None:
        """Take a change of a block's owner."""
        if old is not None:
            self._disown(old)
        if new is not None:
            owned = self._owned.setdefault((new.value.node_uid, new.value.network, new.value.share), [])
            insort(owned, (int(new.value.cidr.network_address), new.key))
            self._owner_of[new.key] = new.value.node_uid
            if new.key not in self._blocks:
                self._blocks[new.key] = self._new_block(new.value.network, new.value.cidr)
            self._take(new.value.network, new.value.cidr)

    def set_address(self, old: Row[AddressRecord] | None, new: Row[AddressRecord] | None) -> None:
        """Take a change of an address."""
        if old is not None and new is not None and old.value.block != new.value.block:
            self._show(old.key, old.value, None)
        row = new or old
        if row is None:
            return
        if new is None or new.value.released_ms is None:
            self._ready_s.pop(row.key, None)
        else:
            self._ready_s[row.key] = self._clock() + new.value.cooldown_s
        if row.key not in self._in_flight:
            self._show(row.key, row.value, new.value if new else None)

    def holdings(self, node: NodeRecord, placement: Placement, share: Share = NOBODY) -> Holdings | None:
        """What the node has for that share in that network; None when its group is not in the topology (any more).

        O(own blocks).
        """
        group = self._groups.get((placement.network, placement.path))
        if group is None or group.cidr != placement.cidr:
            return None
        if (placement.network, placement.path) in self._to_recount:
            group = self._recount(placement.network, placement.path)
        return Holdings(share.of(node.name), group, self.blocks_in(node.uid, placement.network, share, group.cidr))

    def full(self) -> list[Group]:
        """The groups that have no free block, in the order of the document. O(groups)."""
        for network, path in tuple(self._to_recount):
            self._recount(network, path)
        return [key for key, group in self._groups.items() if group.lowest_free() is None]

    def group(self, network: str, path: str) -> GroupBlocks:
        """The blocks of a group that is in the topology."""
        return self._groups[network, path]

    def owners(self) -> Iterable[Owner]:
        """Whoever owns a block."""
        return tuple(self._owned)

    def with_several_empty(self) -> list[Owner]:
        """Owners of more than one block without a held address; where tenants own blocks, of one. O(blocks)."""
        return [
            owner
            for owner, owned in self._owned.items()
            if sum(not self._blocks[key].held for _, key in owned) > (owner[2] == NOBODY)
        ]

    def blocks_in(self, uid: str, network: str, share: Share, cidr: Network) -> tuple[Block, ...]:
        """Those of an owner's blocks of that network that lie in the prefix, ascending. O(own blocks)."""
        return tuple(self.own_blocks(uid, network, share, cidr))

    def own_blocks(self, uid: str, network: str, share: Share, cidr: Network) -> Iterator[Block]:
        """The same, one after the other: nearly always the first that is not full is the last that is looked at."""
        low, high = _span(cidr)
        owned = self._owned.get((uid, network, share), ())
        return (self._blocks[key] for start, key in owned if low <= start <= high)

    def is_cooling(self, key: str) -> bool:
        """Whether the released address of that key may not be given out yet."""
        return self.ready_s(key) > self._clock()

    def ready_s(self, key: str) -> float:
        """When the released address of that key has cooled, monotonic; of one that was not released, never."""
        return self._ready_s.get(key, float("inf"))

    def has_block(self, uid: str, placement: Placement) -> bool:
        """Whether this incarnation of a node owns a block where it stands."""
        low, high = _span(placement.cidr)
        return any(low <= start <= high for start, _ in self._owned.get((uid, placement.network, NOBODY), ()))

    def owned(self, uid: str) -> Iterator[tuple[str, Block]]:
        """Network and block of everything that this incarnation of a node owns."""
        for (owner, network, _), blocks in self._owned.items():
            if owner == uid:
                yield from ((network, self._blocks[key]) for _, key in blocks)

    def cools_for_s(self, key: str) -> float:
        """How long the released address of that key may not be given out yet; 0 when it may, or is not known."""
        return max(self._ready_s.get(key, 0.0) - self._clock(), 0.0)

    def groups(self) -> Mapping[Group, GroupBlocks]:
        """All groups by network and path, in the order of the topology."""
        for network, path in tuple(self._to_recount):
            self._recount(network, path)
        return self._groups

    def blocks(self) -> Mapping[str, Block]:
        """All blocks by key: owned ones, and those that have addresses and no owner."""
        return self._blocks

    def reserve(self, address: Assigned) -> None:
        """Count an address of an own block as held while its write is under way."""
        self._in_flight.add(address.key)
        self._blocks[address.block_key] = self._blocks[address.block_key].with_held(address.ip)

    def settle(self, address: Assigned, row: Row[AddressRecord] | None) -> None:
        """End `reserve`: from now on the address is what the store says."""
        self._in_flight.discard(address.key)
        if row is not None and row.value.held and row.value.block == address.block and self._is_held(address):
            return  # written as it was reserved: so it nearly always is
        self._show(address.key, AddressRecord(address.network, address.ip, address.block, None, None, 0), None)
        if row is not None:
            self._show(address.key, row.value, row.value)

    def reserve_block(self, network: str, path: str, block: Network) -> None:
        """Count a block as taken while its claim is under way."""
        self._groups[network, path] = self._groups[network, path].with_taken(block)

    def settle_block(self, network: str, path: str, block: Network, *, taken: bool) -> None:
        """End `reserve_block`: the block is taken as the store says."""
        group = self._groups.get((network, path))
        if group is not None and not taken and _inside(block, group.cidr):
            self._groups[network, path] = group.with_free(block)
            self._freed((network, path))

    def group_at(self, network: str, cidr: Network) -> Group | None:
        """The group that a block lies in."""
        return self._group_of(network, cidr)

    def reserved_of(self, network: str) -> Ranges:
        """What is reserved in a network."""
        return self._reserved.get(network, ())

    def _is_held(self, address: Assigned) -> bool:
        block = self._blocks.get(address.block_key)
        return block is not None and bool(block.held >> block.offset(address.ip) & 1)

    def _new_block(self, network: str, cidr: Network) -> Block:
        return Block(cidr, reserved=reserved_in(cidr, self._reserved.get(network, ())))

    def _take(self, network: str, cidr: Network) -> None:
        if (group := self._group_of(network, cidr)) is not None:
            self._groups[group] = self._groups[group].with_taken(cidr)

    def _disown(self, row: Row[BlockRecord]) -> None:
        owner = (row.value.node_uid, row.value.network, row.value.share)
        self._owned[owner].remove((int(row.value.cidr.network_address), row.key))
        self._owner_of.pop(row.key)
        if not self._owned[owner]:
            del self._owned[owner]
        self._free_if_unused(row.key, row.value.network)

    def _free_if_unused(self, key: str, network: str) -> None:
        """A block without an owner counts as taken as long as it has addresses: it changes hands empty and cooled."""
        block = self._blocks[key]
        if key in self._owner_of or block.held or block.cooling:
            return
        del self._blocks[key]
        if (group := self._group_of(network, block.cidr)) is not None:
            self._groups[group] = self._groups[group].with_free(block.cidr)
            if block.cidr.prefixlen != self._groups[group].block_mask:
                self._to_recount.add(group)  # of an earlier topology: others may lie in the same numbers
            self._freed(group)

    def _recount(self, network: str, path: str) -> GroupBlocks:
        """The group with just the blocks that are known. O(all blocks)."""
        group = (network, path)
        self._to_recount.discard(group)
        prefix = block_key(network, self._groups[group].cidr).rpartition("/")[0] + "/"
        known = (block.cidr for key, block in self._blocks.items() if key.startswith(prefix))
        self._groups[group] = recounted(self._groups[group], (cidr for cidr in known if self._group_of(network, cidr) == group))
        return self._groups[group]

    def _group_of(self, network: str, cidr: Network) -> Group | None:
        leaves = self._leaves.get(network, [])
        index = bisect_right(leaves, int(cidr.network_address), key=lambda leaf: leaf[0]) - 1
        if index < 0 or not _inside(cidr, self._groups[leaves[index][1]].cidr):
            return None
        return leaves[index][1]

    def _show(self, key: str, place: AddressRecord, record: AddressRecord | None) -> None:
        """Set what the allocator sees of an address; `place` says where it lies."""
        at = block_key(place.network, place.block)
        block = self._blocks.get(at) or self._new_block(place.network, place.block)
        if at not in self._blocks:
            self._take(place.network, place.block)
        if record is None:
            self._blocks[at] = block.without_address(place.ip)
            self._free_if_unused(at, place.network)
        elif record.released_ms is None:
            self._blocks[at] = block.with_held(place.ip)
        else:
            self._blocks[at] = block.with_cooling(place.ip, self._ready_s[key], record.released_ms / 1000)


@lru_cache(maxsize=16384)
def _span(cidr: Network) -> tuple[int, int]:
    """The first and the last address, as numbers."""
    return int(cidr.network_address), int(cidr.broadcast_address)


def _inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer
