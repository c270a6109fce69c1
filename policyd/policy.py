"""NetworkPolicy as a value: whom it isolates and what it still lets through. Pure.

Source: Kubernetes documentation, "Network Policies", and the API reference of networking.k8s.io/v1. What isolates a pod in a
direction forbids there whatever none of the pod's policies allows; policies only ever add up.
"""

from dataclasses import dataclass
from typing import NamedTuple

from policyd.compiled import Address, Direction, Network, Protocol
from policyd.selector import Selector

__all__ = [
    "ALL_PORTS",
    "IpBlock",
    "NamedPorts",
    "NetworkPolicy",
    "NumberedPorts",
    "ObjectName",
    "Peer",
    "PodPeer",
    "Ports",
    "Rule",
]

ALL_PORTS = (0, 65535)


class ObjectName(NamedTuple):
    """Namespace and name of a pod or a policy."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class IpBlock:
    """Addresses of `cidr` that lie in no network of `excepts`; addresses of pods are meant too."""

    cidr: Network
    excepts: tuple[Network, ...] = ()

    def holds(self, address: Address) -> bool:
        """Whether the address is meant; False for one of the other family."""
        return address in self.cidr and not any(address in network for network in self.excepts)


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods of some namespaces: of the one named (the policy's own), or of those that a selector selects."""

    namespaces: str | Selector
    pods: Selector


Peer = IpBlock | PodPeer


@dataclass(frozen=True, slots=True)
class NumberedPorts:
    """Ports of a protocol, first to last; ALL_PORTS where the policy gives the protocol alone."""

    protocol: Protocol
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class NamedPorts:
    """Whatever ports the receiving pod calls by this name under this protocol."""

    protocol: Protocol
    name: str


Ports = NumberedPorts | NamedPorts


@dataclass(frozen=True, slots=True)
class Rule:
    """Peers that may use ports. No peers: everybody. No ports: every port of every protocol, ICMP too."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[Ports, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Pods of its namespace that it selects, and per direction its rules: None does not isolate, () allows nothing."""

    namespace: str
    name: str
    selector: Selector
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    problem: str = ""
    """Why it could not be read; it then allows nothing to what it selects."""

    @property
    def key(self) -> ObjectName:
        """What names it in the cluster."""
        return ObjectName(self.namespace, self.name)

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """Its rules of one direction; None when it does not isolate there."""
        return self.ingress if direction is Direction.INGRESS else self.egress
