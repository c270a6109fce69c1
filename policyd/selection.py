"""Which policies isolate a pod, and which pods a peer means: decided from scratch, each by itself. Pure.

`policyd.selection_index` gives the same answers without looking at everything; a property test holds it to these.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policyd.cluster import Cluster, CoveredPod, NamespaceState
from policyd.compiled import Direction
from policyd.policy import NamedPorts, NetworkPolicy, ObjectName, PodPeer

__all__ = ["PodSet", "Selection", "is_in", "isolating_policies", "select"]

PodSet = PodPeer | NamedPorts
"""What describes pods: a peer, or that they have a port of this name."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Per covered pod the policies that select it, by name; per set of pods its members."""

    policies: Mapping[ObjectName, tuple[NetworkPolicy, ...]]
    members: Mapping[PodSet, frozenset[ObjectName]]


def select(cluster: Cluster, sets: Iterable[PodSet]) -> Selection:
    """Everything selected in a cluster; every set is held against every pod."""
    pods = cluster.covered.values()
    members = {wanted: frozenset(pod.key for pod in pods if is_in(pod, wanted, cluster.namespaces)) for wanted in sets}
    return Selection({pod.key: tuple(_selecting(cluster, pod)) for pod in pods}, members)


def isolating_policies(cluster: Cluster, pod: CoveredPod, direction: Direction) -> list[NetworkPolicy]:
    """The policies that isolate a pod in a direction, by name."""
    return [policy for policy in _selecting(cluster, pod) if policy.rules(direction) is not None]


def is_in(pod: CoveredPod, wanted: PodSet, namespaces: Mapping[str, NamespaceState]) -> bool:
    """Whether a pod is meant; a namespace that is not known is selected by no selector, an empty one included."""
    if isinstance(wanted, NamedPorts):
        return bool(pod.ports(wanted.name, wanted.protocol))
    if not wanted.pods.matches(pod.labels):
        return False
    if isinstance(wanted.namespaces, str):
        return pod.key.namespace == wanted.namespaces
    namespace = namespaces.get(pod.key.namespace)
    return namespace is not None and wanted.namespaces.matches(namespace.labels)


def _selecting(cluster: Cluster, pod: CoveredPod) -> list[NetworkPolicy]:
    return [policy for policy in cluster.policies.get(pod.key.namespace, ()) if policy.selector.matches(pod.labels)]
