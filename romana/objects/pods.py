"""Pod and Namespace objects in the store; the only writer of them beside the kube mirror.

An object applied again keeps its uid. A lost answer is read back: what is there then decides.
"""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound
from romana.objects.models import NamespaceObject, PodObject
from romana.objects.pod_objects import check_pod
from romana.store.api import Compare, Delete, KeyValue, Put, Store
from romana.v1.store_pb2 import SOURCE_APPLY, NamedPort, Namespace, Pod

__all__ = ["BUILT_IN_NAMESPACES", "apply_namespace", "apply_pod", "delete_pod", "ensure_namespace"]

ATTEMPTS = 5
BUILT_IN_NAMESPACES = ("default", "kube-system")
NAME_LABEL = "kubernetes.io/metadata.name"  # the API sets it on every Namespace


async def ensure_namespace(store: Store, name: str) -> None:
    """Make a Namespace object unless it exists; an existing one stays as it is."""
    if await store.get(keys.namespace(name)) is None:
        await _swap(store, keys.namespace(name), None, _namespace(None, name, {}))


async def apply_namespace(store: Store, wanted: NamespaceObject) -> bool:
    """Write a Namespace object; False when it was there just so."""
    key = keys.namespace(wanted.name)
    for _ in range(ATTEMPTS):
        current = await store.get(key)
        value = _namespace(current, wanted.name, wanted.labels)
        if current and current.value == _bytes(value):
            return False
        if await _swap(store, key, current, value):
            return True
    raise Conflict(f"namespace {wanted.name} is being changed by somebody else again and again")


async def apply_pod(store: Store, wanted: PodObject) -> tuple[Pod, bool]:
    """Write a Pod object into a namespace that exists; gives it as stored, with its uid, and whether that changed anything."""
    check_pod(wanted)
    key = keys.pod(wanted.namespace, wanted.name)
    for _ in range(ATTEMPTS):
        if await store.get(keys.namespace(wanted.namespace)) is None:
            raise NotFound(f'namespaces "{wanted.namespace}" not found')  # the API server's own words
        current = await store.get(key)
        pod = _pod(current, wanted)
        if current and current.value == _bytes(pod):
            return pod, False
        if await _swap(store, key, current, pod):
            return pod, True
    raise Conflict(f"pod {wanted.namespace}/{wanted.name} is being changed by somebody else again and again")


async def delete_pod(store: Store, namespace: str, name: str) -> bool:
    """Remove a Pod object; False when there was none. No address is released: CNI DEL does that."""
    key = keys.pod(namespace, name)
    try:
        result = await store.txn([Compare.absent(key)], [], [Delete(key)])
    except Ambiguous:
        if await store.get(key) is not None:
            raise
        return True
    return not result.succeeded


def _namespace(current: KeyValue | None, name: str, labels: Mapping[str, str]) -> Namespace:
    uid = Namespace.FromString(current.value).uid if current else str(uuid.uuid4())
    return Namespace(uid=uid, labels={**labels, NAME_LABEL: name}, source=SOURCE_APPLY)


def _pod(current: KeyValue | None, wanted: PodObject) -> Pod:
    return Pod(
        uid=Pod.FromString(current.value).uid if current else str(uuid.uuid4()),
        labels=wanted.labels,
        ports=[NamedPort(name=port.name, port=port.number, protocol=port.protocol) for port in wanted.ports],
        node=wanted.node,
        host_network=wanted.host_network,
        annotations=wanted.annotations,
        source=SOURCE_APPLY,
    )


def _bytes(message: Message) -> bytes:
    # Maps are unordered on the wire unless asked otherwise; equal objects must have equal bytes.
    return message.SerializeToString(deterministic=True)


async def _swap(store: Store, key: str, current: KeyValue | None, message: Message) -> bool:
    """Write a key as it was read; False when somebody else was quicker."""
    value = _bytes(message)
    try:
        result = await store.txn([Compare.unchanged(current) if current else Compare.absent(key)], [Put(key, value)])
    except Ambiguous:
        found = await store.get(key)
        return found is not None and found.value == value
    return result.succeeded
