"""Manifests as objects, with the faults that the Kubernetes API names."""

import json

import pytest

from romana.errors import InvalidInput
from romana.objects.manifest import NamespaceObject, PodObject, Port, parse

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
  containers:
  - name: c
    image: nginx
    ports:
    - {name: http, containerPort: 80}
    - {containerPort: 53, protocol: UDP}
"""


def test_a_pod_keeps_what_addresses_and_policy_need() -> None:
    wanted = PodObject(
        "default", "web", {"app": "web"}, (Port(80, "TCP", "http"), Port(53, "UDP")), "node-1", True, {"romana.io/ip": "10.0.0.1"}
    )
    assert parse(POD.encode()) == [wanted]


def test_the_namespace_argument_is_for_pods_that_name_none() -> None:
    (pod,) = parse(POD.encode(), "team-a")
    assert isinstance(pod, PodObject)
    assert pod.namespace == "team-a"


def test_documents_lists_and_json_are_read_in_order() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}}
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, pod]})
    expected = [NamespaceObject("a"), PodObject("a", "p")]
    assert parse(listed.encode()) == expected
    assert parse(f"{json.dumps(namespace)}\n---\n{json.dumps(pod)}\n---\n".encode()) == expected


def test_all_faults_come_at_once_with_their_paths() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: A, namespace: b.c, labels: {"-x": ok, y: "a b"}}
spec: {containers: [{ports: [{containerPort: 0}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: s}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: N}}
"""
    with pytest.raises(InvalidInput) as caught:
        parse(text.encode())
    assert [fault.path for fault in caught.value.faults] == [
        "document 1: spec.containers[0].ports[0].containerPort",
        "document 1: metadata.labels",
        "document 1: metadata.labels",
        "document 1: metadata.name",
        "document 1: metadata.namespace",
        "document 2: kind",
        "document 3: metadata.name",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"---\n",
        b"[1, 2",
        b"\xff\xfe",
        b"just text",
        b"42",
        b"[]",
        b"a: &a [*a]",
        b"[" * 20_000,
        b"kind: Pod",
        b"{kind: List, items: 3}",
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


@pytest.mark.parametrize(
    "spec", ["x", "{containers: 3}", "{containers: [3]}", "{containers: [{ports: 3}]}", "{containers: [{ports: [3]}]}"]
)
def test_a_spec_of_the_wrong_shape_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInput):
        parse(f"{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}".encode())
