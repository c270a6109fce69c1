"""What policy needs to know of a cluster: namespaces, pods, endpoints and policies, joined. Pure.

    PodState --+
               +-- same namespace, name and UID --> CoveredPod: runs, has a network of its own and an address
    Endpoint --+

A pod without a phase counts as running; Succeeded and Failed take it out of everything, being deleted does not: it keeps its
network until CNI DEL. Pods on their node's own network are not covered. An endpoint of no pod (anonymous) is selected by no
policy and is met by address blocks only; one whose pod is not there, or is not the endpoint's own, can neither send nor receive.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policyd.compiled import Address, Protocol
from policyd.policy import NetworkPolicy, ObjectName

__all__ = ["ANONYMOUS", "FINISHED", "Cluster", "CoveredPod", "Endpoint", "NamedPort", "NamespaceState", "PodState", "covered_pod"]

ANONYMOUS = ObjectName("_", "_")
"""Where the store keeps endpoints of attachments that the runtime named no pod for."""

FINISHED = frozenset({"Succeeded", "Failed"})
"""Phases in which a pod has left everything."""


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port that a pod gives a name to."""

    name: str
    port: int
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class NamespaceState:
    """A namespace and its labels."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodState:
    """A Pod object, as far as policy goes."""

    namespace: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    named_ports: tuple[NamedPort, ...] = ()
    node: str = ""
    phase: str = ""
    deleting: bool = False
    host_network: bool = False

    @property
    def key(self) -> ObjectName:
        """What names it in the cluster."""
        return ObjectName(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One attachment: its addresses, and the interface of `node` that leads to it. `container` may carry `:<interface>`."""

    namespace: str
    pod: str
    container: str
    addresses: tuple[Address, ...]
    node: str
    host_interface: str
    pod_uid: str = ""

    @property
    def owner(self) -> ObjectName:
        """The pod that it belongs to, or ANONYMOUS."""
        return ObjectName(self.namespace, self.pod)


@dataclass(frozen=True, slots=True)
class CoveredPod:
    """A pod that policy applies to, with its endpoints."""

    key: ObjectName
    labels: Mapping[str, str]
    named_ports: tuple[NamedPort, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Every address that it sends from and receives at."""
        return tuple(address for endpoint in self.endpoints for address in endpoint.addresses)

    def ports(self, name: str, protocol: Protocol) -> frozenset[int]:
        """The ports that it calls by this name under this protocol."""
        return frozenset(port.port for port in self.named_ports if port.name == name and port.protocol is protocol)


def covered_pod(pod: PodState | None, endpoints: Iterable[Endpoint]) -> CoveredPod | None:
    """A pod joined with those of its endpoints that are its own; None when policy does not apply to it."""
    if pod is None or pod.host_network or pod.phase in FINISHED:
        return None
    own = [endpoint for endpoint in endpoints if not pod.uid or not endpoint.pod_uid or pod.uid == endpoint.pod_uid]
    own.sort(key=lambda endpoint: endpoint.container)
    return CoveredPod(pod.key, pod.labels, pod.named_ports, tuple(own)) if own else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything at one moment; made by `Cluster.of`, which joins and groups it."""

    namespaces: Mapping[str, NamespaceState]
    pods: Mapping[ObjectName, PodState]
    endpoints: tuple[Endpoint, ...]
    policies: Mapping[str, tuple[NetworkPolicy, ...]]
    """By namespace, in the order of their names."""
    covered: Mapping[ObjectName, CoveredPod]
    holders: Mapping[Address, Endpoint]

    @staticmethod
    def of(
        namespaces: Iterable[NamespaceState] = (),
        pods: Iterable[PodState] = (),
        endpoints: Iterable[Endpoint] = (),
        policies: Iterable[NetworkPolicy] = (),
    ) -> "Cluster":
        """The cluster of these objects, in whatever order they come."""
        pods_by_key, listed = {pod.key: pod for pod in pods}, tuple(endpoints)
        owned: dict[ObjectName, list[Endpoint]] = {}
        for endpoint in listed:
            owned.setdefault(endpoint.owner, []).append(endpoint)
        joined = {key: covered_pod(pods_by_key.get(key), found) for key, found in owned.items()}
        grouped: dict[str, list[NetworkPolicy]] = {}
        for policy in sorted(policies, key=lambda policy: policy.key):
            grouped.setdefault(policy.namespace, []).append(policy)
        return Cluster(
            namespaces={namespace.name: namespace for namespace in namespaces},
            pods=pods_by_key,
            endpoints=listed,
            policies={namespace: tuple(found) for namespace, found in grouped.items()},
            covered={key: pod for key, pod in joined.items() if pod},
            holders={address: endpoint for endpoint in listed for address in endpoint.addresses},
        )
