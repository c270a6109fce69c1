"""Pods and Namespaces: what is kept of them, and what the API refuses."""

import json
from typing import Any

import pytest

from romana.errors import InvalidInput
from romana.objects.manifest import parse
from romana.objects.models import NamespaceObject, PodObject, Port
from romana.objects.pod_objects import check_pod

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
  annotations: {romana.io/ip: 10.0.0.1, other: x}
spec:
  nodeName: node-1
  hostNetwork: true
  initContainers:
  - {name: first, ports: [{containerPort: 1}]}
  - {name: beside, restartPolicy: Always, ports: [{containerPort: 2, name: beside}]}
  containers:
  - name: c
    image: nginx
    ports:
    - {name: http, containerPort: 80}
    - {containerPort: 53, protocol: UDP}
status: {phase: Running}
"""


def faults(spec: Any, **metadata: Any) -> list[str]:
    """The faults of a pod that is refused, as text."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}, "spec": spec}
    with pytest.raises(InvalidInput) as caught:
        parse(json.dumps(pod).encode())
    return [str(fault) for fault in caught.value.faults]


def ports(*given: dict[str, Any]) -> dict[str, Any]:
    """A spec of one container with these ports."""
    return {"containers": [{"name": "c", "ports": list(given)}]}


def test_a_pod_keeps_what_addresses_and_policy_need() -> None:
    expected = (Port(80, "TCP", "http"), Port(53, "UDP"), Port(2, "TCP", "beside"))
    wanted = PodObject("default", "web", {"app": "web"}, expected, "node-1", True, {"romana.io/ip": "10.0.0.1"})
    assert parse(POD.encode()).objects == (wanted,)


@pytest.mark.parametrize("rest", ["", ", spec: null", ", spec: {}", ", spec: {containers: []}", ", spec: {containers: [{}]}"])
def test_a_pod_without_containers_or_spec_is_taken(rest: str) -> None:
    text = f"{{apiVersion: v1, kind: Pod, metadata: {{name: p}}{rest}}}"
    assert parse(text.encode()).objects == (PodObject("default", "p"),)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"containerPort": 0}, "containerPort: Required value"),
        ({}, "containerPort: Required value"),
        ({"containerPort": 65536}, "containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"),
        ({"containerPort": -1}, "containerPort: Invalid value: -1: must be between 1 and 65535, inclusive"),
        ({"containerPort": 1, "hostPort": 65536}, "hostPort: Invalid value: 65536: must be between 1 and 65535, inclusive"),
        ({"containerPort": 1, "protocol": "tcp"}, 'protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"'),
        ({"containerPort": 1, "name": "a--b"}, 'name: Invalid value: "a--b": must not contain consecutive hyphens'),
    ],
)
def test_ports_are_judged_as_by_the_api(given: dict[str, Any], expected: str) -> None:
    assert faults(ports(given)) == [f"spec.containers[0].ports[0].{expected}"]


def test_an_empty_protocol_is_tcp() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": ports({"containerPort": 1, "protocol": ""})}
    (found,) = parse(json.dumps(pod).encode()).objects
    assert found == PodObject("default", "p", ports=(Port(1),))


def test_names_of_ports_are_unique_in_a_container_only() -> None:
    twice = [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]
    assert faults(ports(*twice)) == ['spec.containers[0].ports[1].name: Duplicate value: "a"']
    spec = {"containers": [{"name": "c", "ports": twice[:1]}, {"name": "d", "ports": twice[1:]}]}
    parse(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}).encode())


def test_names_of_containers_are_labels_and_unique() -> None:
    spec = {"initContainers": [{"name": "c"}], "containers": [{"name": "c"}, {"name": "a.b"}, {}, {}]}
    found = faults(spec)
    assert [fault.partition(":")[0] for fault in found] == ["spec.containers[0].name", "spec.containers[1].name"]
    assert found[1].endswith("must not contain dots")


def test_the_node_is_a_name() -> None:
    assert faults({"nodeName": "N/1"})[0].startswith('spec.nodeName: Invalid value: "N/1": a lowercase RFC 1123 subdomain')


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("x", "spec"),
        ({"containers": 3}, "spec.containers"),
        ({"containers": [3]}, "spec.containers[0]"),
        ({"containers": [{"ports": 3}]}, "spec.containers[0].ports"),
        ({"containers": [{"ports": [3]}]}, "spec.containers[0].ports[0]"),
        ({"containers": [{"ports": [{"containerPort": "80"}]}]}, "spec.containers[0].ports[0].containerPort"),
        ({"containers": [{"ports": [{"containerPort": True}]}]}, "spec.containers[0].ports[0].containerPort"),
        ({"hostNetwork": "yes"}, "spec.hostNetwork"),
        ({"nodeName": 3}, "spec.nodeName"),
    ],
)
def test_a_spec_of_the_wrong_shape_is_refused(spec: Any, path: str) -> None:
    (fault,) = faults(spec)
    assert fault.startswith(f"{path}: json: cannot unmarshal ")


def test_a_namespace_is_named_by_a_label_and_keeps_its_labels() -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {a: b}}, spec: {finalizers: [x]}, status: {}}"
    assert parse(text.replace("NAME", "a").encode()).objects == (NamespaceObject("a", {"a": "b"}),)
    for name, rule in (
        ("a.b", "must not contain dots"),
        ("x" * 64, "must be no more than 63 characters"),
        ("_", "RFC 1123 label"),
    ):
        with pytest.raises(InvalidInput, match=rf"metadata\.name: Invalid value: \"{name}\": .*{rule}"):
            parse(text.replace("NAME", name).encode())


def test_a_pod_from_no_manifest_is_held_to_the_same_rules() -> None:
    check_pod(PodObject("default", "web", {"a": "b"}, (Port(80, "TCP", "http"),)))
    with pytest.raises(InvalidInput) as caught:
        check_pod(PodObject("a.b", "Web", {"-": "b c"}, (Port(0, "tcp", "HTTP"),)))
    assert {fault.path for fault in caught.value.faults} == {
        "metadata.name",
        "metadata.namespace",
        "metadata.labels",
        "spec.containers[0].ports[0].name",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[0].protocol",
    }
