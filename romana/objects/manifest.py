"""Reads Kubernetes manifests: v1 Pod, Namespace and List, YAML with several documents or JSON. Pure.

Field paths in faults are those of the Kubernetes API. Fields that we have no use for are accepted, as the API has them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from romana.errors import Fault, InvalidInput
from romana.names import is_label_key, is_label_value, is_namespace_name, is_object_name

__all__ = ["NamespaceObject", "PodObject", "Port", "check_pod", "parse"]

SIZE_MAX = 3 * 2**20  # the API server's own limit for a request body
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORT_MAX = 65535


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


def parse(text: bytes, namespace: str = "default") -> list[NamespaceObject | PodObject]:
    """All objects of a manifest in their order; `namespace` is for pods that name none.

    Raises InvalidInput with every fault of every document at once."""
    faults: list[Fault] = []
    found = [_object(document, where, namespace, faults) for where, document in _documents(text, faults)]
    if faults:
        raise InvalidInput("the manifest is not valid:", faults)
    if not found:
        raise InvalidInput("the manifest holds no object")
    return [value for value in found if value is not None]


def check_pod(pod: PodObject) -> None:
    """Raise InvalidInput for a pod with a name, namespace or labels that the Kubernetes API would refuse."""
    faults = _pod_faults(pod, "")
    if faults:
        raise InvalidInput(f"pod {pod.namespace}/{pod.name} is not valid:", faults)


def _documents(text: bytes, faults: list[Fault]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object with its place in the manifest; Lists are opened."""
    if len(text) > SIZE_MAX:
        raise InvalidInput(f"the manifest has {len(text)} bytes; the limit is {SIZE_MAX}")
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InvalidInput(f"the manifest is neither YAML nor JSON: {err}") from err
    except RecursionError as err:
        raise InvalidInput("the manifest is nested too deeply") from err
    for number, document in enumerate(documents):
        where = f"document {number + 1}: " if len(documents) > 1 else ""
        if not isinstance(document, dict):
            faults.append(Fault(where.removesuffix(": "), f"is {document!r}; must be an object"))
        elif document.get("kind") == "List":
            for index, item in _items(document, "items", where, faults):
                yield f"{where}items[{index}]: ", item
        else:
            yield where, document


def _object(document: Mapping[str, Any], where: str, namespace: str, faults: list[Fault]) -> NamespaceObject | PodObject | None:
    kind = (document.get("apiVersion"), document.get("kind"))
    metadata = _mapping(document, "metadata", where, faults)
    labels = {str(key): str(value) for key, value in _mapping(metadata, "labels", f"{where}metadata.", faults).items()}
    name = str(metadata.get("name") or "")
    if kind == ("v1", "Namespace"):
        if not is_namespace_name(name):
            faults.append(Fault(f"{where}metadata.name", f"is {name!r}; must be a DNS label in lower case (RFC 1123)"))
        faults.extend(_label_faults(labels, where))
        return NamespaceObject(name, labels)
    if kind == ("v1", "Pod"):
        pod = _pod(document, where, PodObject(str(metadata.get("namespace") or namespace), name, labels), faults)
        faults.extend(_pod_faults(pod, where))
        return pod
    faults.append(Fault(f"{where}kind", f"is {kind[0]}/{kind[1]}; known are v1/Pod, v1/Namespace and v1/List"))
    return None


def _pod(document: Mapping[str, Any], where: str, named: PodObject, faults: list[Fault]) -> PodObject:
    spec = _mapping(document, "spec", where, faults)
    metadata = _mapping(document, "metadata", where, [])
    annotations = _mapping(metadata, "annotations", f"{where}metadata.", faults)
    ours = {str(key): str(value) for key, value in annotations.items() if str(key).startswith("romana.io/")}
    ports = tuple(_ports(spec, where, faults))
    node, host_network = str(spec.get("nodeName") or ""), spec.get("hostNetwork") is True
    return PodObject(named.namespace, named.name, named.labels, ports, node, host_network, ours)


def _ports(spec: Mapping[str, Any], where: str, faults: list[Fault]) -> Iterator[Port]:
    for number, container in _items(spec, "containers", f"{where}spec.", faults):
        for index, port in _items(container, "ports", f"{where}spec.containers[{number}].", faults):
            path = f"{where}spec.containers[{number}].ports[{index}]"
            value, protocol = port.get("containerPort"), port.get("protocol") or "TCP"
            if not isinstance(value, int) or not 0 < value <= PORT_MAX:
                faults.append(Fault(f"{path}.containerPort", f"is {value!r}; must be 1 to {PORT_MAX}"))
                continue
            if protocol not in PROTOCOLS:
                faults.append(Fault(f"{path}.protocol", f"is {protocol!r}; must be one of {', '.join(PROTOCOLS)}"))
            yield Port(value, str(protocol), str(port.get("name") or ""))


def _mapping(parent: Mapping[str, Any], key: str, where: str, faults: list[Fault]) -> Mapping[str, Any]:
    value = parent.get(key)
    if value is not None and not isinstance(value, dict):
        faults.append(Fault(f"{where}{key}", f"is {value!r}; must be an object"))
    return value if isinstance(value, dict) else {}


def _items(parent: Mapping[str, Any], key: str, where: str, faults: list[Fault]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a list, with their index."""
    value = parent.get(key) or []
    if not isinstance(value, list):
        faults.append(Fault(f"{where}{key}", f"is {value!r}; must be a list"))
        return
    for index, item in enumerate(value):
        if isinstance(item, dict):
            yield index, item
        else:
            faults.append(Fault(f"{where}{key}[{index}]", f"is {item!r}; must be an object"))


def _pod_faults(pod: PodObject, where: str) -> list[Fault]:
    faults = _label_faults(pod.labels, where)
    if not is_object_name(pod.name):
        faults.append(Fault(f"{where}metadata.name", f"is {pod.name!r}; must be a DNS subdomain in lower case (RFC 1123)"))
    if not is_namespace_name(pod.namespace):
        faults.append(Fault(f"{where}metadata.namespace", f"is {pod.namespace!r}; must be a DNS label in lower case (RFC 1123)"))
    return faults


def _label_faults(labels: Mapping[str, str], where: str) -> list[Fault]:
    faults = []
    for key, value in labels.items():
        if not is_label_key(key):
            rule = "must be [prefix/]name, name at most 63 of [-A-Za-z0-9_.]"
            faults.append(Fault(f"{where}metadata.labels", f"has the key {key!r}; {rule}"))
        if not is_label_value(value):
            faults.append(Fault(f"{where}metadata.labels", f"has the value {value!r}; must be at most 63 of [-A-Za-z0-9_.]"))
    return faults
