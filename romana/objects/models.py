"""The objects of a manifest as values, after the API's defaulting. Pure."""

from dataclasses import dataclass, field

from romana.objects.v1_types import PolicySpecV1

__all__ = ["NamespaceObject", "Object", "PodObject", "PolicyObject", "Port"]


@dataclass(frozen=True, slots=True)
class Port:
    """A container port: number, protocol (TCP, UDP or SCTP), and a name or ""."""

    number: int
    protocol: str = "TCP"
    name: str = ""


@dataclass(frozen=True, slots=True)
class NamespaceObject:
    """A v1 Namespace."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodObject:
    """A v1 Pod, as far as addresses and policy go."""

    namespace: str
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    node: str = ""
    host_network: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    """Only those that begin with "romana.io/"."""


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """A networking.k8s.io/v1 NetworkPolicy, defaulted."""

    namespace: str
    name: str
    spec: PolicySpecV1
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


Object = NamespaceObject | PodObject | PolicyObject
