"""What the kernel of one node must enforce: the one compiled model that every renderer carries out. Pure.

    pods of this node --(direction, policies, named ports)--> groups --> a constant number of sets each

A pod that no policy isolates in a direction is in no group of that direction: everything is allowed there. A group's rules are a
union: whatever one of its policies allows is allowed. Layout and reasons: docs/adr/0005-policy-in-the-kernel.md.
"""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = ["Address", "Compiled", "Direction", "Group", "Network", "PodInterface", "PortPeers", "Protocol", "RangePeers"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Direction(Enum):
    """Always from the pod's side."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Protocol(Enum):
    """The protocols that a NetworkPolicy can name, by their IP protocol numbers (IANA)."""

    TCP = 6
    UDP = 17
    SCTP = 132


@dataclass(frozen=True, slots=True, order=True)
class PortPeers:
    """One peer network that may use one port of one protocol."""

    peer: Network
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class RangePeers:
    """Peer networks that may use a range of ports (`endPort`, or all ports of a protocol: 0 to 65535)."""

    protocol: Protocol
    first: int
    last: int
    peers: frozenset[Network]


@dataclass(frozen=True, slots=True)
class Group:
    """The rules that some pods of this node share in one direction.

    `id` is stable: the same (direction, policies, named ports) give the same id on every run, 10 lower-case hex digits.
    No /0 among the peers: everything is given as the two /1 halves of a family, as ipset's hash:net takes no /0.
    """

    id: str
    direction: Direction
    port_peers: frozenset[PortPeers] = frozenset()
    peers: frozenset[Network] = frozenset()
    """Peers without a port: every protocol, ICMP too."""
    ranges: tuple[RangePeers, ...] = ()
    """Sorted by protocol, first, last; no two with the same range."""


@dataclass(frozen=True, slots=True)
class PodInterface:
    """A pod of this node: its host interface, its addresses, its group per direction (None: not isolated)."""

    interface: str
    addresses: tuple[Address, ...]
    ingress: str | None = None
    egress: str | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything of one node. Every group is used by a pod; every group that a pod names is there."""

    pods: tuple[PodInterface, ...] = ()
    groups: tuple[Group, ...] = field(default=())
