"""Objects as the store's messages, and those messages as the API's documents."""

import json
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from romana.errors import Refused, Unavailable
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD, Kind
from romana.objects.models import NamespaceObject, Object, PodObject, PolicyObject
from romana.store.api import KeyValue
from romana.v1.store_pb2 import SOURCE_APPLY, SOURCE_KUBE, Endpoint, NamedPort, Namespace, Pod, Policy

__all__ = ["NAME_LABEL", "document", "is_mirrored", "kind_and_place", "refuse_mirrored", "value_over"]

NAME_LABEL = "kubernetes.io/metadata.name"  # the API sets it on every Namespace

Record = Namespace | Pod | Policy
AnyRecord = TypeVar("AnyRecord", Namespace, Pod, Policy, Namespace | Pod | Policy)
_MESSAGES: dict[Kind, type[Record]] = {NAMESPACE: Namespace, POD: Pod, NETWORK_POLICY: Policy}


def kind_and_place(value: Object) -> tuple[Kind, str, str]:
    """Kind, namespace (empty for a Namespace) and name of an object."""
    if isinstance(value, NamespaceObject):
        return NAMESPACE, "", value.name
    return POD if isinstance(value, PodObject) else NETWORK_POLICY, value.namespace, value.name


def value_over(value: Object, current: KeyValue | None) -> bytes:
    """The bytes of an object in place of what is there now: its uid stays, all else is replaced. Equal ones have equal bytes."""
    if isinstance(value, NamespaceObject):
        uid = _uid(Namespace, current)
        return _bytes(Namespace(uid=uid, labels={**value.labels, NAME_LABEL: value.name}, source=SOURCE_APPLY))
    if isinstance(value, PodObject):
        return _bytes(_pod(value, _uid(Pod, current)))
    return _bytes(Policy(object=_policy(value, current), source=SOURCE_APPLY))


def is_mirrored(kind: Kind, item: KeyValue | None) -> bool:
    """Whether an object came from a Kubernetes cluster."""
    record = None if item is None else _record(_MESSAGES[kind], item)
    return record is not None and record.source == SOURCE_KUBE


def refuse_mirrored(kind: Kind, name: str, item: KeyValue | None) -> None:
    """Raise Refused for an object that is Kubernetes' to change."""
    if is_mirrored(kind, item):
        raise Refused(f'{kind.resource} "{name}" is mirrored from Kubernetes: change it there, with kubectl')


def document(kind: Kind, namespace: str, name: str, item: KeyValue, endpoints: Iterable[Endpoint] = ()) -> dict[str, Any]:
    """An object as the API gives it out; `endpoints` are those of a pod. Raises Unavailable when the key holds something else."""
    record = _record(_MESSAGES[kind], item)
    if isinstance(record, Policy):
        return _policy_document(namespace, name, item, record)
    if record is None:
        raise Unavailable(f"key {item.key!r} holds no {kind.name}")
    place = {"name": name, **({"namespace": namespace} if namespace else {})}
    labels = {"labels": dict(sorted(record.labels.items()))} if record.labels else {}
    metadata = {**place, "uid": record.uid, "resourceVersion": str(item.mod_revision), **labels}
    header = {"apiVersion": kind.api_versions[0], "kind": kind.name, "metadata": metadata}
    if isinstance(record, Namespace):
        return {**header, "spec": {}, "status": {"phase": "Active"}}
    if record.annotations:
        metadata["annotations"] = dict(sorted(record.annotations.items()))
    return {**header, "spec": _pod_spec(record), "status": _pod_status(record, endpoints)}


def _pod(value: PodObject, uid: str) -> Pod:
    return Pod(
        uid=uid,
        labels=value.labels,
        ports=[NamedPort(name=port.name, port=port.number, protocol=port.protocol) for port in value.ports],
        node=value.node,
        host_network=value.host_network,
        annotations=value.annotations,
        source=SOURCE_APPLY,
    )


def _policy(value: PolicyObject, current: KeyValue | None) -> bytes:
    record = None if current is None else _record(Policy, current)
    old = None if record is None else _json(record)
    uid = (old or {}).get("metadata", {}).get("uid") or str(uuid.uuid4())
    maps = {"labels": value.labels, "annotations": value.annotations}
    metadata = {"name": value.name, "namespace": value.namespace, "uid": uid, **{key: part for key, part in maps.items() if part}}
    header = {"apiVersion": NETWORK_POLICY.api_versions[0], "kind": NETWORK_POLICY.name}
    return json.dumps({**header, "metadata": metadata, "spec": value.spec}, sort_keys=True, separators=(",", ":")).encode()


def _policy_document(namespace: str, name: str, item: KeyValue, record: Policy) -> dict[str, Any]:
    found = _json(record)
    if found is None:
        raise Unavailable(f"key {item.key!r} holds no {NETWORK_POLICY.name}")
    metadata = {"name": name, "namespace": namespace, **found["metadata"], "resourceVersion": str(item.mod_revision)}
    header = {"apiVersion": NETWORK_POLICY.api_versions[0], "kind": NETWORK_POLICY.name}
    return {**header, "metadata": metadata, "spec": found["spec"]}


def _json(record: Policy) -> dict[str, Any] | None:
    """The object of a policy's record, or None when there is none to speak of."""
    try:
        found = json.loads(record.object)
    except (ValueError, RecursionError):
        return None
    parts = [found.get("metadata"), found.get("spec")] if isinstance(found, dict) else [None]
    return found if all(isinstance(part, dict) for part in parts) else None


def _pod_spec(record: Pod) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if record.ports:  # of which containers they were is not kept
        ports = [_without_empty({"name": p.name, "containerPort": p.port, "protocol": p.protocol}) for p in record.ports]
        spec["containers"] = [{"name": "all", "ports": ports}]
    return {**spec, **_without_empty({"nodeName": record.node, "hostNetwork": record.host_network})}


def _pod_status(record: Pod, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    # An endpoint and a pod of one name belong together unless both know their uid and disagree.
    own = [end for end in endpoints if not (end.pod_uid and record.uid) or end.pod_uid == record.uid]
    ips = [ip for end in own for ip in end.addresses]
    return _without_empty({"phase": record.phase, "podIP": ips[0] if ips else "", "podIPs": [{"ip": ip} for ip in ips]})


def _uid(message: type[Namespace] | type[Pod], current: KeyValue | None) -> str:
    record = None if current is None else _record(message, current)
    return (record.uid if isinstance(record, Namespace | Pod) else "") or str(uuid.uuid4())


def _record(message: type[AnyRecord], item: KeyValue) -> AnyRecord | None:
    """The record of a key; None when the key is damaged."""
    try:
        return message.FromString(item.value)
    except DecodeError:
        return None


def _bytes(message: Message) -> bytes:
    # Maps are unordered on the wire unless asked otherwise; equal objects must have equal bytes.
    return message.SerializeToString(deterministic=True)


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
