"""How a prefix is split among the groups of one list. Pure.

    weights 1 1 1     │a│b│c│·│          the number of groups is padded to the next power of two, pads stay empty
    weights 1 2 1     │a│·│b b│c│·│·│·│  each stands at a multiple of its own size, in the order of the document
    explicit prefixes │·│b b│a│          each stands where the document says; what is left over are pads

A group's path ends in its place in the document; pads are numbered behind the groups, ascending. With weights of 1 and no
explicit prefix this is Romana's rule, and pads are of one slot each; else pads are as large as their place allows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import summarize_address_range

from romana.keys import Network

__all__ = ["Share", "Slot", "bits_of", "slot_count", "split", "subprefix"]


@dataclass(frozen=True, slots=True)
class Share:
    """What a group asks for."""

    weight: int = 1
    """How many slots, rounded up to a power of two."""
    cidr: Network | None = None
    """Its prefix, if the document says so; then those of all groups of the list are given, disjoint and inside the parent's."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of the prefix."""

    index: int
    """Of the group; from the number of groups on it is a pad."""
    cidr: Network


def slot_count(shares: Sequence[Share]) -> int:
    """How many parts the split has, pads included; explicit prefixes count without their pads."""
    if not shares or shares[0].cidr is not None:
        return len(shares)
    unit = all(share.weight == 1 for share in shares)
    return 1 << bits_of(shares) if unit else 2 * len(shares)


def bits_of(shares: Sequence[Share]) -> int:
    """By how many bits the slot of weight 1 is longer than the parent's prefix."""
    return (_end(shares) - 1).bit_length()


def split(parent: Network, shares: Sequence[Share]) -> tuple[Slot, ...]:
    """All parts, ascending: they cover the parent's prefix. `parent` must have the bits that the shares need."""
    if shares[0].cidr is not None:
        taken = [(index, share.cidr) for index, share in enumerate(shares) if share.cidr is not None]
        return _with_pads(parent, sorted(taken, key=lambda entry: int(entry[1].network_address)), len(shares))
    length = parent.prefixlen + bits_of(shares)
    starts = list(_starts(shares))
    if all(share.weight == 1 for share in shares):
        return tuple(Slot(index, subprefix(parent, length, index)) for index in range(1 << bits_of(shares)))
    placed = [(index, _at(parent, length, start, size)) for index, (start, size) in enumerate(starts)]
    return _with_pads(parent, placed, len(shares))


def subprefix(cidr: Network, prefixlen: int, index: int) -> Network:
    """The `index`-th prefix of that length in `cidr`."""
    base = int(cidr.network_address) + (index << (cidr.max_prefixlen - prefixlen))
    return type(cidr)((base, prefixlen))


def _at(parent: Network, length: int, start: int, size: int) -> Network:
    """`size` slots of that length from the `start`-th on; both are aligned."""
    bits = size.bit_length() - 1
    return subprefix(parent, length - bits, start >> bits)


def _starts(shares: Sequence[Share]) -> Iterator[tuple[int, int]]:
    """First slot and number of slots of each group."""
    free = 0
    for share in shares:
        size = 1 << (share.weight - 1).bit_length()
        start = -(-free // size) * size
        yield start, size
        free = start + size


def _end(shares: Sequence[Share]) -> int:
    return max(start + size for start, size in _starts(shares))


def _with_pads(parent: Network, placed: Sequence[tuple[int, Network]], first_pad: int) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    pad, free = first_pad, int(parent.network_address)
    after = int(parent.broadcast_address) + 1
    for index, cidr in [*placed, (-1, None)]:
        start = int(cidr.network_address) if cidr is not None else after
        for gap in _gaps(parent, free, start):
            slots.append(Slot(pad, gap))
            pad += 1
        if cidr is not None:
            slots.append(Slot(index, cidr))
            free = int(cidr.broadcast_address) + 1
    return tuple(slots)


def _gaps(parent: Network, first: int, after: int) -> Iterator[Network]:
    """The fewest prefixes that cover the addresses from `first` up to, not including, `after`."""
    if first < after:
        address = type(parent.network_address)
        yield from summarize_address_range(address(first), address(after - 1))
