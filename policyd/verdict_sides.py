"""Finds out who the two ends of a connection are: covered pods, or addresses outside. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from policyd.cluster import ANONYMOUS, Cluster, CoveredPod
from policyd.compiled import Address, Network
from policyd.policy import IpBlock, ObjectName
from romana.errors import InvalidInput

__all__ = ["Party", "Side", "Sides", "resolve"]

Party = ObjectName | Address | Network
"""A pod, an address, or a network of addresses that belong to no pod."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end: its address (a network of one, mostly), and its pod if policy applies to it."""

    network: Network
    pod: CoveredPod | None = None
    gone: bool = False
    """An endpoint that has no running pod: its node neither takes from it nor gives to it."""

    def lies_in(self, block: IpBlock) -> bool:
        """Whether an address block means this end; raises InvalidInput when it means a part of it only."""
        if not _overlap(self.network, block.cidr) or any(_inside(self.network, network) for network in block.excepts):
            return False
        if not _inside(self.network, block.cidr) or any(_overlap(self.network, network) for network in block.excepts):
            raise InvalidInput(f"{self.network} is only partly in an ipBlock of {block.cidr}: ask for a smaller network")
        return True


@dataclass(frozen=True, slots=True)
class Sides:
    """Both ends, in one address family."""

    source: Side
    destination: Side

    @property
    def same_pod(self) -> bool:
        """Whether a pod speaks to itself; that mostly never leaves the pod."""
        return self.source.pod is not None and self.source.pod is self.destination.pod


def resolve(cluster: Cluster, source: Party, destination: Party) -> Sides:
    """Both ends, in the first family that both have."""
    sources, destinations = _sides(cluster, source), _sides(cluster, destination)
    for one in sources:
        for other in destinations:
            if one.network.version == other.network.version:
                return Sides(one, other)
    raise InvalidInput(f"{source} and {destination} have no address family in common")


def _sides(cluster: Cluster, party: Party) -> list[Side]:
    if isinstance(party, ObjectName):
        return [_side(cluster, address) for address in _addresses(cluster, party)]
    if isinstance(party, IPv4Network | IPv6Network):
        return [_side(cluster, party.network_address) if party.num_addresses == 1 else Side(party)]
    return [_side(cluster, party)]


def _addresses(cluster: Cluster, name: ObjectName) -> list[Address]:
    covered = cluster.covered.get(name)
    if covered:
        addresses = covered.addresses
    else:
        addresses = tuple(address for endpoint in cluster.endpoints if endpoint.owner == name for address in endpoint.addresses)
    if not addresses:
        raise InvalidInput(f"pod {name} {_why_no_address(cluster, name)}")
    return sorted(addresses, key=lambda address: address.version)


def _why_no_address(cluster: Cluster, name: ObjectName) -> str:
    pod = cluster.pods.get(name)
    if pod is None:
        return "does not exist"
    return "is on its node's network: ask for the node's address" if pod.host_network else "has no address yet"


def _side(cluster: Cluster, address: Address) -> Side:
    network, endpoint = ip_network(address), cluster.holders.get(address)
    if endpoint is None or endpoint.owner == ANONYMOUS:
        return Side(network)
    pod = cluster.covered.get(endpoint.owner)
    return Side(network, pod) if pod and endpoint in pod.endpoints else Side(network, gone=True)


def _inside(small: Network, large: Network) -> bool:
    return _overlap(small, large) and small.prefixlen >= large.prefixlen


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and (one.network_address in other or other.network_address in one)
