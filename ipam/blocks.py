"""Blocks as values: the addresses of one, and which blocks of a group are taken. Pure.

Everything is integers: an address is a bit of its block, a group's taken blocks are runs of their numbers.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from ipam.topology.carving import Prefix
from ipam.topology.splitting import subprefix
from romana.errors import InvalidInput
from romana.keys import Address, Network

__all__ = ["Block", "Cooling", "GroupBlocks", "Ranges", "group_blocks", "ranges_of", "recounted", "reserved_in"]

_NOT_COOLING: Final = ()

Ranges = tuple[tuple[int, int], ...]
"""Sorted and apart from each other: numbers from the first of each up to, not including, the second."""


@dataclass(frozen=True, slots=True, order=True)
class Cooling:
    """An address that was released; the order is that of reuse."""

    ready_s: float
    """When its cool-down is over, on this process's monotonic clock."""
    released_s: float
    """When it was released, by the wall clock: orders those that a starting replica first sees at one moment."""
    offset: int
    """Which address of the block."""


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses of one block. Each is free (never used), held, or cooling; all are used, the first and last included."""

    cidr: Network
    held: int = 0
    """Bit i: address i is held."""
    cooling: tuple[Cooling, ...] = _NOT_COOLING
    """Sorted: the first to be used again comes first."""
    cooling_bits: int = 0
    """Bit i: address i is in `cooling`."""
    reserved: Ranges = ()
    """Offsets that are not given out. Ranges and not bits: a block of IPv6 can be larger than any memory."""

    @property
    def size(self) -> int:
        """Number of addresses."""
        return 1 << (self.cidr.max_prefixlen - self.cidr.prefixlen)

    def ip(self, offset: int) -> Address:
        """The address at an offset."""
        return self.cidr.network_address + offset

    def offset(self, ip: Address) -> int:
        """The offset of an address; raises InvalidInput when it is not in the block."""
        offset = int(ip) - int(self.cidr.network_address)
        if ip.version != self.cidr.version or not 0 <= offset < self.size:
            raise InvalidInput(f"{ip} is not in block {self.cidr}")
        return offset

    def lowest_free(self) -> int | None:
        """Offset of the lowest address that was never used and is not reserved. By machine words; O(reserved ranges)."""
        used = self.held | self.cooling_bits
        offset = _lowest_zero(used)
        for start, end in self.reserved:
            if start <= offset < end:
                offset = end + _lowest_zero(used >> end)
        return offset if offset < self.size else None

    def oldest_cooling(self) -> Cooling | None:
        """The released address to be used again first, of those that are not reserved."""
        return next((entry for entry in self.cooling if not self.is_reserved(entry.offset)), None)

    def is_reserved(self, offset: int) -> bool:
        """Whether this address is not to be given out."""
        return any(start <= offset < end for start, end in self.reserved)

    def unused_reserved(self) -> int:
        """How many addresses are reserved and neither held nor cooling."""
        used = self.held | self.cooling_bits
        return sum(end - start - _bits_between(used, start, end) for start, end in self.reserved)

    def with_held(self, ip: Address) -> "Block":
        """The block with this address held. O(cooling)."""
        offset = self.offset(ip)
        rest = self._without_cooling(offset)
        # Not `replace`: this is done several times for each allocation, and the constructor alone costs a quarter.
        return Block(rest.cidr, rest.held | 1 << offset, rest.cooling, rest.cooling_bits, rest.reserved)

    def with_cooling(self, ip: Address, ready_s: float, released_s: float = 0.0) -> "Block":
        """The block with this address released. O(cooling)."""
        offset = self.offset(ip)
        rest = self.without_address(ip)
        cooling = list(rest.cooling)
        insort(cooling, Cooling(ready_s, released_s, offset))
        return replace(rest, cooling=tuple(cooling), cooling_bits=rest.cooling_bits | 1 << offset)

    def without_address(self, ip: Address) -> "Block":
        """The block with this address as if it were never used. O(cooling)."""
        offset = self.offset(ip)
        rest = self._without_cooling(offset)
        return Block(rest.cidr, rest.held & ~(1 << offset), rest.cooling, rest.cooling_bits, rest.reserved)

    def _without_cooling(self, offset: int) -> "Block":
        if not self.cooling_bits >> offset & 1:
            return self
        cooling = tuple(entry for entry in self.cooling if entry.offset != offset)
        return replace(self, cooling=cooling, cooling_bits=self.cooling_bits & ~(1 << offset))


@dataclass(frozen=True, slots=True)
class GroupBlocks:
    """Which blocks of a group are in anybody's hands, as runs of block numbers: run i is starts[i] up to, not including, ends[i].

    Blocks are claimed lowest first, so runs are few. The lowest free block is O(1); taking or giving back one is O(runs).
    """

    network: str
    path: str
    name: str
    cidr: Network
    block_mask: int
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    reserved: Ranges = ()
    """Addresses, as numbers, that are not given out. A block that is reserved whole counts as taken."""

    @property
    def total(self) -> int:
        """How many blocks fit."""
        return 1 << (self.block_mask - self.cidr.prefixlen)

    @property
    def taken(self) -> int:
        """How many blocks are in somebody's hands. O(runs)."""
        return sum(self.ends) - sum(self.starts)

    @property
    def free(self) -> int:
        """How many blocks nobody has. O(runs)."""
        return self.total - self.taken

    def lowest_free(self) -> Network | None:
        """The lowest block that nobody has."""
        number = self.ends[0] if self.starts[:1] == (0,) else 0
        return subprefix(self.cidr, self.block_mask, number) if number < self.total else None

    def is_taken(self, block: Network) -> bool:
        """Whether any part of this block is in somebody's hands. O(log runs)."""
        start, end = self.numbers(block)
        run = bisect_left(self.starts, end) - 1
        return run >= 0 and self.ends[run] > start

    def with_taken(self, block: Network) -> "GroupBlocks":
        """The group with this block taken; no change when it is already."""
        start, end = self.numbers(block)
        first = bisect_left(self.ends, start)  # the first run that touches or follows it
        last = bisect_right(self.starts, end)  # the first run that lies beyond it
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        return self._spliced(first, last, (start,), (end,))

    def with_free(self, block: Network) -> "GroupBlocks":
        """The group with this block in nobody's hands; no change when it is already, or reserved whole."""
        start, end = self.numbers(block)
        if self._reserved_whole(start, end):
            return self
        first = bisect_right(self.ends, start)  # the first run that overlaps or follows it
        last = bisect_left(self.starts, end)
        if first >= last:
            return self
        low, high = self.starts[first], self.ends[last - 1]
        rest = [(a, b) for a, b in ((low, start), (end, high)) if a < b]
        return self._spliced(first, last, tuple(a for a, _ in rest), tuple(b for _, b in rest))

    def new_block(self, cidr: Network) -> Block:
        """A block of this group of which no address was used yet."""
        return Block(cidr, reserved=reserved_in(cidr, self.reserved))

    def reserved_runs(self) -> Iterable[tuple[int, int]]:
        """The runs of blocks that are reserved whole."""
        shift = self.cidr.max_prefixlen - self.block_mask
        base = int(self.cidr.network_address) >> shift
        for low, high in self.reserved:
            start, end = -(-low >> shift) - base, (high >> shift) - base
            if max(start, 0) < min(end, self.total):
                yield max(start, 0), min(end, self.total)

    def _reserved_whole(self, start: int, end: int) -> bool:
        return bool(self.reserved) and any(low <= start and end <= high for low, high in self.reserved_runs())

    def _spliced(self, first: int, last: int, starts: tuple[int, ...], ends: tuple[int, ...]) -> "GroupBlocks":
        return replace(
            self,
            starts=self.starts[:first] + starts + self.starts[last:],
            ends=self.ends[:first] + ends + self.ends[last:],
        )

    def numbers(self, block: Network) -> tuple[int, int]:
        """The run of block numbers that a block covers: one, or more where it is larger than the group's blocks are now.

        Raises InvalidInput when the block is not in the group.
        """
        if block.version != self.cidr.version or not self.cidr.overlaps(block):
            raise InvalidInput(f"block {block} is not in group {self.path} ({self.cidr}) of network {self.network}")
        shift = self.cidr.max_prefixlen - self.block_mask
        base = int(self.cidr.network_address) >> shift
        start = (int(block.network_address) >> shift) - base
        return max(start, 0), min((int(block.broadcast_address) >> shift) + 1 - base, self.total)


def group_blocks(prefix: Prefix, taken: Iterable[Network] = (), reserved: Ranges = ()) -> GroupBlocks:
    """A leaf's blocks, with those taken that are in somebody's hands or reserved. O(n log n) for n taken blocks."""
    group = GroupBlocks(prefix.network, prefix.path, prefix.name, prefix.cidr, prefix.block_mask, reserved=reserved)
    return recounted(group, taken)


def ranges_of(networks: Iterable[Network]) -> Ranges:
    """The addresses of these networks, of one family, as numbers."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((int(cidr.network_address), int(cidr.broadcast_address) + 1) for cidr in networks):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def reserved_in(cidr: Network, reserved: Ranges) -> Ranges:
    """The offsets in the block that are among these addresses."""
    low = int(cidr.network_address)
    size = 1 << (cidr.max_prefixlen - cidr.prefixlen)
    inside = ((max(start - low, 0), min(end - low, size)) for start, end in reserved)
    return tuple((start, end) for start, end in inside if start < end)


def _lowest_zero(bits: int) -> int:
    return (~bits & (bits + 1)).bit_length() - 1


def _bits_between(bits: int, start: int, end: int) -> int:
    rest = bits >> start
    return (rest if rest.bit_length() <= end - start else rest & ((1 << (end - start)) - 1)).bit_count()


def recounted(group: GroupBlocks, taken: Iterable[Network]) -> GroupBlocks:
    """The group with exactly these blocks taken, of any size. O(n log n)."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted([*map(group.numbers, taken), *group.reserved_runs()]):
        if ends and start <= ends[-1]:
            ends[-1] = max(end, ends[-1])
        else:
            starts.append(start)
            ends.append(end)
    return replace(group, starts=tuple(starts), ends=tuple(ends))
