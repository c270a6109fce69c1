"""Reads what the store holds into the values that policy decides on; whatever cannot be read opens nothing."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from policyd.cluster import Endpoint, NamedPort, NamespaceState, PodState
from policyd.compiled import Address, Protocol
from policyd.policy import NetworkPolicy
from policyd.policy_json import parse_closed
from romana import keys
from romana.errors import InvalidInput
from romana.store.api import KeyValue
from romana.v1 import store_pb2

__all__ = ["read_attachment", "read_endpoint", "read_namespace", "read_pod", "read_policy"]

KIND = "NetworkPolicy"

M = TypeVar("M", bound=Message)


def read_policy(item: KeyValue) -> NetworkPolicy | None:
    """The policy of a `policies/` key; None for a kind that is not NetworkPolicy. One that is malformed allows nothing."""
    namespace, kind, name = keys.split(keys.POLICIES, item.key, 3)
    if kind != KIND:
        return None
    try:
        text = _message(store_pb2.Policy, item).object
    except InvalidInput:
        text = b""
    return parse_closed(namespace, name, text)


def read_namespace(item: KeyValue) -> NamespaceState:
    """The namespace of a `namespaces/` key; raises InvalidInput."""
    (name,) = keys.split(keys.NAMESPACES, item.key, 1)
    return NamespaceState(name, dict(_message(store_pb2.Namespace, item).labels))


def read_pod(item: KeyValue) -> PodState:
    """The pod of a `pods/` key; raises InvalidInput."""
    namespace, name = keys.split(keys.PODS, item.key, 2)
    message = _message(store_pb2.Pod, item)
    return PodState(
        namespace,
        name,
        message.uid,
        dict(message.labels),
        tuple(_named_ports(message)),
        message.node,
        message.phase,
        message.HasField("deletion"),
        message.host_network,
    )


def read_endpoint(item: KeyValue) -> Endpoint:
    """The endpoint of an `endpoints/` key; raises InvalidInput."""
    namespace, pod, container = keys.split(keys.ENDPOINTS, item.key, 3)
    message = _message(store_pb2.Endpoint, item)
    addresses = _addresses(item, message.addresses)
    return Endpoint(namespace, pod, container, addresses, message.node, message.host_interface, message.pod_uid)


def read_attachment(item: KeyValue) -> Endpoint:
    """The same endpoint, as the attachment of this node tells it; raises InvalidInput."""
    node, _, container, ifname = keys.split(keys.ATTACHMENTS, item.key, 4)
    message = _message(store_pb2.Attachment, item)
    pod = message.pod
    key = keys.endpoint(pod.namespace, pod.name, container, ifname)
    namespace, name, part = keys.split(keys.ENDPOINTS, key, 3)
    addresses = _addresses(item, (address.ip for address in message.addresses))
    return Endpoint(namespace, name, part, addresses, node, message.host_interface, pod.uid)


def _named_ports(pod: store_pb2.Pod) -> Iterator[NamedPort]:
    for port in pod.ports:
        if port.name and port.protocol in Protocol.__members__:
            yield NamedPort(port.name, port.port, Protocol[port.protocol])


def _addresses(item: KeyValue, texts: Iterable[str]) -> tuple[Address, ...]:
    try:
        return tuple(ip_address(text) for text in texts)
    except ValueError as err:
        raise InvalidInput(f"key {item.key!r}: {err}") from err


def _message(kind: type[M], item: KeyValue) -> M:
    try:
        return kind.FromString(item.value)
    except DecodeError as err:
        raise InvalidInput(f"key {item.key!r} holds no {kind.DESCRIPTOR.name}: {err}") from err
