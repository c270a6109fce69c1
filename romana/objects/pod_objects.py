"""Pods as the API validates them, as far as we use them. Pure.

We run no containers, so a pod without any is taken, and so are containers without name or image; what is given is checked.
Source: k8s.io/kubernetes, pkg/apis/core/validation/validation.go, validateContainerPorts.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from romana.errors import Fault, InvalidInput
from romana.objects.metadata import label_faults, metadata_faults
from romana.objects.models import PodObject, Port
from romana.objects.naming import PROTOCOLS, dns_label, dns_subdomain, port_name, port_number
from romana.objects.v1_types import ContainerPortV1, ContainerV1, PodSpecV1, PodV1
from romana.objects.words import duplicate, each_invalid, required, unsupported

__all__ = ["OUR_ANNOTATIONS", "check_pod", "pod_faults", "pod_object"]

OUR_ANNOTATIONS = "romana.io/"
_LISTS: tuple[Literal["initContainers"], Literal["containers"]] = ("initContainers", "containers")


def pod_faults(pod: PodV1) -> list[Fault]:
    """Everything that the API refuses in what we use of a pod."""
    spec = pod["spec"]
    faults = metadata_faults(pod["metadata"], dns_subdomain)
    names: set[str] = set()
    for path, container in _containers(spec):
        faults += _container_faults(container, path, names)
    node = spec.get("nodeName", "")
    return faults + (each_invalid("spec.nodeName", node, dns_subdomain(node)) if node else [])


def pod_object(pod: PodV1) -> PodObject:
    """The pod's value, with the ports of those containers that run beside one another."""
    metadata, spec = pod["metadata"], pod["spec"]
    restarting = [item for item in spec.get("initContainers", []) if item.get("restartPolicy") == "Always"]
    ports = [port for container in spec.get("containers", []) + restarting for port in container.get("ports", [])]
    return PodObject(
        metadata.get("namespace", ""),
        metadata.get("name", ""),
        metadata.get("labels", {}),
        tuple(Port(port.get("containerPort", 0), port.get("protocol", "TCP"), port.get("name", "")) for port in ports),
        spec.get("nodeName", ""),
        spec.get("hostNetwork", False),
        _ours(metadata.get("annotations", {})),
    )


def check_pod(pod: PodObject) -> None:
    """Raise InvalidInput for a pod that the Kubernetes API would refuse; for pods that come from no manifest."""
    faults = each_invalid("metadata.name", pod.name, dns_subdomain(pod.name))
    faults += each_invalid("metadata.namespace", pod.namespace, dns_label(pod.namespace))
    faults += label_faults(pod.labels, "metadata.labels")
    for index, port in enumerate(pod.ports):
        path = f"spec.containers[0].ports[{index}]"
        faults += _port_faults({"name": port.name, "containerPort": port.number, "protocol": port.protocol}, path)
    if faults:
        raise InvalidInput(f"pod {pod.namespace}/{pod.name} is not valid:", faults)


def _containers(spec: PodSpecV1) -> Iterator[tuple[str, ContainerV1]]:
    for field in _LISTS:
        for index, container in enumerate(spec.get(field, [])):
            yield f"spec.{field}[{index}]", container


def _container_faults(container: ContainerV1, path: str, names: set[str]) -> list[Fault]:
    """`names` are those of the containers before this one."""
    name = container.get("name", "")
    faults = each_invalid(f"{path}.name", name, dns_label(name)) if name else []
    if name in names:
        faults.append(duplicate(f"{path}.name", name))
    names.update({name} - {""})
    port_names: set[str] = set()
    for index, port in enumerate(container.get("ports", [])):
        where, own = f"{path}.ports[{index}]", port.get("name", "")
        if own in port_names:
            faults.append(duplicate(f"{where}.name", own))
        port_names.update({own} - {""})
        faults += _port_faults(port, where)
    return faults


def _port_faults(port: ContainerPortV1, path: str) -> list[Fault]:
    name, number, protocol = port.get("name", ""), port.get("containerPort", 0), port.get("protocol", "TCP")
    faults = each_invalid(f"{path}.name", name, port_name(name)) if name else []
    faults += (
        each_invalid(f"{path}.containerPort", number, port_number(number)) if number else [required(f"{path}.containerPort")]
    )
    host = port.get("hostPort", 0)
    faults += each_invalid(f"{path}.hostPort", host, port_number(host)) if host else []
    return faults + ([] if protocol in PROTOCOLS else [unsupported(f"{path}.protocol", protocol, sorted(PROTOCOLS))])


def _ours(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key.startswith(OUR_ANNOTATIONS)}
