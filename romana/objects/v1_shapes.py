"""The shapes of the API's objects that we take: fields and Go types as in k8s.io/api, in its order. Pure."""

from romana.objects.shapes import Dropped, Field, Keep, ListOf, MapOf, Scalar, Shape, Struct

__all__ = ["NAMESPACE", "NETWORK_POLICY", "POD"]


def _plain(shape: Shape) -> Field:
    return Field(shape)


def _always(shape: Shape) -> Field:
    return Field(shape, Keep.ALWAYS)


def _pointer(shape: Shape) -> Field:
    return Field(shape, Keep.GIVEN)


_TEXT = Field(Scalar.STRING)
_DROPPED = Field(Dropped())

_METADATA = Struct(
    "v1.ObjectMeta",
    {
        "name": _TEXT,
        "generateName": _TEXT,
        "namespace": _TEXT,
        "labels": _plain(MapOf()),
        "annotations": _plain(MapOf()),
        # What the server fills in and what only other controllers use.
        **dict.fromkeys(("selfLink", "uid", "resourceVersion", "generation", "creationTimestamp"), _DROPPED),
        **dict.fromkeys(("deletionTimestamp", "deletionGracePeriodSeconds"), _DROPPED),
        **dict.fromkeys(("ownerReferences", "finalizers", "managedFields"), _DROPPED),
    },
)
_HEADER = {"kind": _DROPPED, "apiVersion": _DROPPED, "metadata": _always(_METADATA)}

_REQUIREMENT = Struct(
    "v1.LabelSelectorRequirement",
    {"key": _always(Scalar.STRING), "operator": _always(Scalar.OPERATOR), "values": _plain(ListOf(Scalar.STRING))},
)
_SELECTOR = Struct("v1.LabelSelector", {"matchLabels": _plain(MapOf()), "matchExpressions": _plain(ListOf(_REQUIREMENT))})
_BLOCK = Struct("v1.IPBlock", {"cidr": _always(Scalar.STRING), "except": _plain(ListOf(Scalar.STRING))})
_PEER = Struct(
    "v1.NetworkPolicyPeer",
    {"podSelector": _pointer(_SELECTOR), "namespaceSelector": _pointer(_SELECTOR), "ipBlock": _pointer(_BLOCK)},
)
_PORT = Struct(
    "v1.NetworkPolicyPort",
    {"protocol": _pointer(Scalar.PROTOCOL), "port": _pointer(Scalar.INT_OR_STRING), "endPort": _pointer(Scalar.INT32)},
)
_INGRESS = Struct("v1.NetworkPolicyIngressRule", {"ports": _plain(ListOf(_PORT)), "from": _plain(ListOf(_PEER))})
_EGRESS = Struct("v1.NetworkPolicyEgressRule", {"ports": _plain(ListOf(_PORT)), "to": _plain(ListOf(_PEER))})
_POLICY_SPEC = Struct(
    "v1.NetworkPolicySpec",
    {
        "podSelector": _always(_SELECTOR),
        "ingress": _plain(ListOf(_INGRESS)),
        "egress": _plain(ListOf(_EGRESS)),
        "policyTypes": _plain(ListOf(Scalar.POLICY_TYPE)),
    },
)
NETWORK_POLICY = Struct("NetworkPolicy", {**_HEADER, "spec": _always(_POLICY_SPEC)})

NAMESPACE = Struct("Namespace", {**_HEADER, "spec": _DROPPED, "status": _DROPPED})

_CONTAINER_PORT = Struct(
    "v1.ContainerPort",
    {
        "name": _TEXT,
        "hostPort": _plain(Scalar.INT32),
        "containerPort": _plain(Scalar.INT32),
        "protocol": _plain(Scalar.PROTOCOL),
        "hostIP": _DROPPED,
    },
)
# We run no containers: of these, what names ports and places pods is all that is looked at.
_CONTAINER = Struct("v1.Container", {"name": _TEXT, "ports": _plain(ListOf(_CONTAINER_PORT)), "restartPolicy": _TEXT}, open=True)
_POD_SPEC = Struct(
    "v1.PodSpec",
    {
        "initContainers": _plain(ListOf(_CONTAINER)),
        "containers": _plain(ListOf(_CONTAINER)),
        "nodeName": _TEXT,
        "hostNetwork": _plain(Scalar.BOOL),
    },
    open=True,
)
POD = Struct("Pod", {**_HEADER, "spec": _always(_POD_SPEC), "status": _DROPPED})
