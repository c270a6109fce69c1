"""What a change of the topology does to prefixes and nodes, as rows to show. Pure.

Prefixes are told apart by network and range: a group that is renamed keeps its range, one that moves has another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ipam.topology.carving import Prefix
from ipam.topology.placement import Placements
from romana.keys import Network

__all__ = ["Fate", "Move", "PrefixChange", "moves", "prefix_changes"]


class Fate(StrEnum):
    """What becomes of a range."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    """The same range, for other nodes, under another name, with blocks of another size or owner, or a pad where a group was."""


@dataclass(frozen=True, slots=True)
class PrefixChange:
    """A range that is not as it was."""

    fate: Fate
    network: str
    cidr: Network
    before: Prefix | None
    after: Prefix | None


@dataclass(frozen=True, slots=True)
class Move:
    """A node that stands elsewhere in a network; empty: in no group."""

    node: str
    network: str
    before: str
    after: str


def prefix_changes(old: Sequence[Prefix], new: Sequence[Prefix]) -> Iterator[PrefixChange]:
    """Every range that is not as it was: by network, ascending."""
    before = {(prefix.network, prefix.cidr): prefix for prefix in old}
    after = {(prefix.network, prefix.cidr): prefix for prefix in new}
    for network, cidr in sorted(before.keys() | after.keys(), key=_order):
        was, will = before.get((network, cidr)), after.get((network, cidr))
        if was is None or will is None:
            yield PrefixChange(Fate.ADDED if was is None else Fate.REMOVED, network, cidr, was, will)
        elif _told(was) != _told(will):
            yield PrefixChange(Fate.CHANGED, network, cidr, was, will)


def moves(before: Mapping[str, Placements], after: Mapping[str, Placements]) -> Iterator[Move]:
    """Every node that stands elsewhere: by name, then by network."""
    for node in sorted(before.keys() | after.keys()):
        was = {placement.network: f"{placement.name} {placement.cidr}" for placement in before.get(node, ())}
        will = {placement.network: f"{placement.name} {placement.cidr}" for placement in after.get(node, ())}
        for network in sorted(was.keys() | will.keys()):
            if was.get(network) != will.get(network):
                yield Move(node, network, was.get(network, ""), will.get(network, ""))


def _order(key: tuple[str, Network]) -> tuple[str, int, int, int]:
    network, cidr = key
    return network, cidr.version, int(cidr.network_address), cidr.prefixlen


def _told(prefix: Prefix) -> tuple[object, ...]:
    """What of a prefix a person would call different; its place in the document is not."""
    hosts = [host.name for host in prefix.hosts]
    return prefix.pad, not prefix.pad and prefix.name, prefix.assignment, prefix.routing, prefix.block_mask, prefix.owner, hosts
