"""Which networks a pod may take its addresses from, and what the topology says of each. Pure.

Romana's order: the networks that name the pod's tenant, then those open to any, each in the order of the document. The tenant of
a pod is its namespace, as in Romana's Kubernetes listener. A choice is one network, or a pair of both families.
"""

from collections.abc import Iterable, Mapping

from ipam.demand import Demand
from ipam.records import Share
from ipam.topology.document import NetworkSpec, TopologyDocument
from romana.errors import InvalidInput, NotFound, Refused
from romana.keys import Address, Network

__all__ = ["Choice", "choices", "fixed_in", "reserved_by_document", "reserved_by_operator", "share_of"]

Choice = tuple[NetworkSpec, ...]
"""One network, or two of different families: the addresses that a pod gets together or not at all."""


def choices(document: TopologyDocument, demand: Demand) -> tuple[Choice, ...]:
    """What to try, in this order; never empty.

    Raises NotFound for a network that is not there, Refused where none takes the tenant, and InvalidInput for two networks of one
    family and for a fixed address that none of them has.
    """
    by_name = {network.name: network for network in document.networks}
    found = (_chosen(by_name, demand),) if demand.networks else tuple(_pairs(by_name, demand.tenant))
    if not found:
        raise Refused(
            f"no network admits tenant {demand.tenant!r}: every one lists its tenants; add it to `tenants` of one",
            reason="TENANT_NOT_ADMITTED",
        )
    having = tuple(choice for choice in found if all(any(ip in network.cidr for network in choice) for ip in demand.ips))
    if not having:
        wanted = " and ".join(map(str, demand.ips))
        names = "; ".join(" with ".join(f"{network.name} {network.cidr}" for network in choice) for choice in found)
        raise InvalidInput(
            f"the fixed address {wanted} is in no network that the pod may use ({names}); choose one of those",
            reason="ADDRESS_OUTSIDE",
        )
    return having


def _chosen(by_name: Mapping[str, NetworkSpec], demand: Demand) -> Choice:
    for name in demand.networks:
        if name not in by_name:
            raise NotFound(
                f"network {name!r} is not in the topology; it has {', '.join(by_name) or 'none'}", reason="NETWORK_UNKNOWN"
            )
    chosen = tuple(by_name[name] for name in demand.networks)
    if len({network.cidr.version for network in chosen}) < len(chosen):
        raise InvalidInput(
            f"networks {', '.join(demand.networks)} are of one family; choose one of each family at most",
            reason="ADDRESS_WRONG_FAMILY",
        )
    for network in chosen:
        if network.tenants and demand.tenant not in network.tenants:
            raise Refused(
                f"network {network.name} does not admit tenant {demand.tenant!r}; it admits {', '.join(network.tenants)}",
                reason="TENANT_NOT_ADMITTED",
            )
    return chosen


def _pairs(by_name: Mapping[str, NetworkSpec], tenant: str) -> Iterable[Choice]:
    """Networks in Romana's order, each with its dual one; a network that is another's dual is none of its own."""
    seconds = {network.dual for network in by_name.values()}
    first = [network for network in by_name.values() if network.name not in seconds]
    named = [network for network in first if tenant in network.tenants]
    for network in named:
        yield _with_dual(by_name, network)
    if all(network.fallback for network in named):
        for network in first:
            if not network.tenants:
                yield _with_dual(by_name, network)


def _with_dual(by_name: Mapping[str, NetworkSpec], network: NetworkSpec) -> Choice:
    return (network, by_name[network.dual]) if network.dual else (network,)


def share_of(network: NetworkSpec, demand: Demand) -> Share:
    """Whose blocks of a node the addresses come from."""
    return Share(demand.tenant, demand.segment) if network.owner == "tenant" else Share()


def reserved_by_document(network: NetworkSpec) -> tuple[Network, ...]:
    """What the document keeps from being given out."""
    return network.reserved


def reserved_by_operator(network: NetworkSpec, reservations: Iterable[Network]) -> list[Network]:
    """Those of an operator's reservations that lie in the network, whatever its name was when they were made."""
    return [cidr for cidr in reservations if cidr.version == network.cidr.version and cidr.overlaps(network.cidr)]


def fixed_in(network: NetworkSpec, demand: Demand) -> Address | None:
    """The fixed address of this network, where the pod has one."""
    return next((ip for ip in demand.ips if ip in network.cidr), None)
