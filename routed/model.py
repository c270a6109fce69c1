"""The values that routed works with: nodes and blocks of the store, routes that we want and routes that are there. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = ["Add", "Address", "Block", "Delete", "Installed", "Network", "Node", "Op", "Problem", "Replace", "Route", "metric"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV4_METRIC = 0  # what the kernel gives a route without RTA_PRIORITY
IPV6_METRIC = 1024  # IP6_RT_PRIO_USER, linux/ipv6_route.h: the same for IPv6


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


@dataclass(frozen=True, slots=True)
class Add:
    """Make a route where ours is missing; fails when anybody else has one for the same destination and metric."""

    route: Route


@dataclass(frozen=True, slots=True)
class Replace:
    """Put a route in the place of ours for the same destination, in one step: no packet finds none."""

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


def metric(destination: Network) -> int:
    """The metric of every route of ours: the kernel's default for the family."""
    return IPV4_METRIC if destination.version == 4 else IPV6_METRIC
