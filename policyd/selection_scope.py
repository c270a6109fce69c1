"""Which namespaces' pods a node must hear of to enforce the policies of its own pods. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from policyd.cluster import FINISHED, NamespaceState, PodState
from policyd.compiled import Direction
from policyd.policy import IpBlock, NamedPorts, NetworkPolicy, PodPeer, Rule
from policyd.selector import EVERYTHING, Selector

__all__ = ["ALL", "Everywhere", "namespaces_in_scope"]


class Everywhere(Enum):
    """Stands for every namespace, those to come included."""

    ALL = "all"


ALL = Everywhere.ALL


def namespaces_in_scope(
    policies: Iterable[NetworkPolicy], local_pods: Iterable[PodState], namespaces: Mapping[str, NamespaceState]
) -> frozenset[str] | Everywhere:
    """The namespaces of the node's own pods, and those that these pods' policies can mean; ALL for `namespaceSelector: {}`, and
    for an egress rule that lets everybody or an address block use a port by its name: each pod may call its ports so."""
    local: dict[str, list[PodState]] = {}
    for pod in local_pods:
        local.setdefault(pod.namespace, []).append(pod)
    chosen = set(local)
    selectors: set[Selector] = set()
    for policy in policies:
        if any(_selects(policy, pod) for pod in local.get(policy.namespace, ())):
            if _names_ports_of_anybody(policy):
                return ALL
            selectors.update(_namespace_selectors(policy))
    if EVERYTHING in selectors:
        return ALL
    chosen.update(name for name, namespace in namespaces.items() if any(one.matches(namespace.labels) for one in selectors))
    return frozenset(chosen)


def _selects(policy: NetworkPolicy, pod: PodState) -> bool:
    return not pod.host_network and pod.phase not in FINISHED and policy.selector.matches(pod.labels)


def _namespace_selectors(policy: NetworkPolicy) -> Iterator[Selector]:
    """Selectors of namespaces; a peer without one means the policy's own namespace, which is in scope anyhow."""
    for direction in Direction:
        for rule in policy.rules(direction) or ():
            for peer in rule.peers:
                if isinstance(peer, PodPeer) and isinstance(peer.namespaces, Selector):
                    yield peer.namespaces


def _names_ports_of_anybody(policy: NetworkPolicy) -> bool:
    return any(
        _opens_by_address(rule) and any(isinstance(port, NamedPorts) for port in rule.ports) for rule in policy.egress or ()
    )


def _opens_by_address(rule: Rule) -> bool:
    return not rule.peers or any(isinstance(peer, IpBlock) for peer in rule.peers)
