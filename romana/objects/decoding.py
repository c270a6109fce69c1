"""One document of a known kind as a value: decoded, defaulted, held to the API's rules. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from romana.errors import Fault
from romana.objects import v1_shapes
from romana.objects.json_values import Json
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD, Kind
from romana.objects.metadata import metadata_faults
from romana.objects.models import NamespaceObject, Object, PolicyObject
from romana.objects.naming import dns_label
from romana.objects.network_policies import defaulted, policy_faults, policy_warnings, upper_case_protocols
from romana.objects.pod_objects import pod_faults, pod_object
from romana.objects.shapes import Decoded, decode
from romana.objects.v1_types import MetadataV1, NamespaceV1, NetworkPolicyV1, PodV1

__all__ = ["Read", "decode_object"]

BETA = "extensions/v1beta1"
OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"
NO_GENERATED_NAME = "cannot use generate name with apply"  # kubectl's words: applied twice, it would be two objects


@dataclass(frozen=True, slots=True)
class Read:
    """A document's value, unless there are faults."""

    value: Object | None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()


def decode_object(kind: Kind, api_version: str, value: Json, namespace: str | None = None, *, strict: bool = False) -> Read:
    """The document as the API would store it; see `manifest.parse` for `namespace` and `strict`.

    As in the API, a document that cannot be decoded is not held to the rules."""
    found = Decoded(strict)
    decoded = decode(value, _SHAPES[kind], found)
    if found.faults:
        return Read(None, tuple(found.faults))
    return _WITH_RULES[kind](decoded, api_version, namespace, found)


def _network_policy(decoded: Json, api_version: str, namespace: str | None, found: Decoded) -> Read:
    policy = cast(NetworkPolicyV1, decoded)
    spec, warnings = upper_case_protocols(policy["spec"]) if api_version == BETA else (policy["spec"], [])
    metadata, faults = _placed(policy["metadata"], namespace)
    spec = defaulted(spec)
    faults += policy_faults({"metadata": metadata, "spec": spec})
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    value = PolicyObject(metadata["namespace"], metadata.get("name", ""), spec, labels, annotations)
    return _read(value, metadata, faults, [*found.warnings, *warnings, *([] if faults else policy_warnings(spec))])


def _pod(decoded: Json, _version: str, namespace: str | None, found: Decoded) -> Read:
    pod = cast(PodV1, decoded)
    metadata, faults = _placed(pod["metadata"], namespace)
    placed: PodV1 = {"metadata": metadata, "spec": pod["spec"]}
    faults += pod_faults(placed)
    return _read(pod_object(placed), metadata, faults, found.warnings)


def _namespace(decoded: Json, _version: str, _request: str | None, found: Decoded) -> Read:
    metadata = cast(NamespaceV1, decoded)["metadata"]
    metadata.pop("namespace", None)  # the API clears it on objects of the whole cluster
    faults = metadata_faults(metadata, dns_label)
    return _read(NamespaceObject(metadata.get("name", ""), metadata.get("labels", {})), metadata, faults, found.warnings)


def _read(value: Object, metadata: MetadataV1, faults: list[Fault], warnings: list[str]) -> Read:
    if not faults and not metadata.get("name"):
        faults = [Fault("metadata.generateName", NO_GENERATED_NAME)]
    return Read(None if faults else value, tuple(faults), tuple(warnings))


def _placed(metadata: MetadataV1, namespace: str | None) -> tuple[MetadataV1, list[Fault]]:
    """The metadata with its namespace, and a fault when it says another one than the request."""
    own = metadata.get("namespace", "")
    if own and namespace is not None and own != namespace:
        return metadata, [Fault("metadata.namespace", OTHER_NAMESPACE)]
    placed = metadata.copy()
    placed["namespace"] = own or namespace or "default"
    return placed, []


_SHAPES = {NETWORK_POLICY: v1_shapes.NETWORK_POLICY, POD: v1_shapes.POD, NAMESPACE: v1_shapes.NAMESPACE}
_WITH_RULES: dict[Kind, Callable[[Json, str, str | None, Decoded], Read]] = {
    NETWORK_POLICY: _network_policy,
    POD: _pod,
    NAMESPACE: _namespace,
}
