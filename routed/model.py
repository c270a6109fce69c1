"""The values that routed works with: nodes and blocks of the store, routes that we want and routes that are there. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = ["Add", "Address", "Block", "Delete", "Installed", "Network", "Node", "Op", "Problem", "Replace", "Route", "Slot"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Slot = tuple[Network, int, int]
"""Destination, metric and TOS: what the kernel takes for one and the same route (fib_find_alias, net/ipv4/fib_trie.c)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster; `uid` is its identity, the name may be used again by another."""

    name: str
    uid: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block in the hands of the node with that uid; `node` is that node's name when it took it."""

    cidr: Network
    node: str
    node_uid: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route that we want: to a next hop, or, without one, unreachable."""

    destination: Network
    next_hop: Address | None


@dataclass(frozen=True, slots=True)
class Installed:
    """A route of our protocol as the kernel has it. Equal to a wanted one only if nothing about it is different."""

    destination: Network
    next_hop: Address | None
    metric: int
    tos: int = 0
    type: int = 1
    """RTN_*: 1 unicast, 7 unreachable (linux/rtnetlink.h)."""
    plain: bool = True
    """False when it has what we never write: several next hops, a next-hop object, an encapsulation, a preferred source."""
    shadowed: bool = False
    """True when a foreign IPv4 route stands before it in its slot: the kernel uses that one, and never ours."""

    @property
    def slot(self) -> Slot:
        """Where it stands."""
        return self.destination, self.metric, self.tos


@dataclass(frozen=True, slots=True)
class Add:
    """Make a route where ours is missing. IPv4: before any foreign one in its slot; IPv6: fails when there is one."""

    route: Route


@dataclass(frozen=True, slots=True)
class Replace:
    """Put a route in the place of ours in its slot, or before the foreign one that shadows ours. No foreign one is changed."""

    route: Route
    old: Installed


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove exactly this route."""

    old: Installed


Op = Add | Replace | Delete


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that an operator should know; `id` is stable, `text` names the objects."""

    id: str
    text: str
