"""The API's objects as they are once decoded, for type checkers. Pure."""

from typing import NotRequired, TypedDict

__all__ = [
    "BlockV1",
    "ContainerPortV1",
    "ContainerV1",
    "MetadataV1",
    "NamespaceV1",
    "NetworkPolicyV1",
    "PeerV1",
    "PodSpecV1",
    "PodV1",
    "PolicyPortV1",
    "PolicySpecV1",
    "RequirementV1",
    "RuleV1",
    "SelectorV1",
]


class MetadataV1(TypedDict, total=False):
    """ObjectMeta, without what we neither keep nor check."""

    name: str
    generateName: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]


class RequirementV1(TypedDict):
    """LabelSelectorRequirement."""

    key: str
    operator: str
    values: NotRequired[list[str]]


class SelectorV1(TypedDict, total=False):
    """LabelSelector; an empty one selects everything."""

    matchLabels: dict[str, str]
    matchExpressions: list[RequirementV1]


# By function where a field's name is a word of Python.
BlockV1 = TypedDict("BlockV1", {"cidr": str, "except": NotRequired[list[str]]})


class PeerV1(TypedDict, total=False):
    """NetworkPolicyPeer."""

    podSelector: SelectorV1
    namespaceSelector: SelectorV1
    ipBlock: BlockV1


class PolicyPortV1(TypedDict, total=False):
    """NetworkPolicyPort."""

    protocol: str
    port: int | str
    endPort: int


RuleV1 = TypedDict("RuleV1", {"ports": list[PolicyPortV1], "from": list[PeerV1], "to": list[PeerV1]}, total=False)


class PolicySpecV1(TypedDict):
    """NetworkPolicySpec."""

    podSelector: SelectorV1
    ingress: NotRequired[list[RuleV1]]
    egress: NotRequired[list[RuleV1]]
    policyTypes: NotRequired[list[str]]


class NetworkPolicyV1(TypedDict):
    """NetworkPolicy."""

    metadata: MetadataV1
    spec: PolicySpecV1


class ContainerPortV1(TypedDict, total=False):
    """ContainerPort."""

    name: str
    hostPort: int
    containerPort: int
    protocol: str


class ContainerV1(TypedDict, total=False):
    """Container."""

    name: str
    ports: list[ContainerPortV1]
    restartPolicy: str


class PodSpecV1(TypedDict, total=False):
    """PodSpec, as far as addresses and policy go."""

    initContainers: list[ContainerV1]
    containers: list[ContainerV1]
    nodeName: str
    hostNetwork: bool


class PodV1(TypedDict):
    """Pod."""

    metadata: MetadataV1
    spec: PodSpecV1


class NamespaceV1(TypedDict):
    """Namespace."""

    metadata: MetadataV1
