"""Manifests as objects: order, Lists, namespaces, and all faults at once with their places."""

import json
from typing import Any

import pytest

from romana.errors import Fault, InvalidInput
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD, kind_named
from romana.objects.manifest import FAULTS_MAX, Identity, identities, parse
from romana.objects.models import NamespaceObject, Object, PodObject, PolicyObject

NAMESPACE_A = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
POD_P = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}}
POLICY_P = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "a"}}
ALL = (NamespaceObject("a"), PodObject("a", "p"), PolicyObject("a", "p", {"podSelector": {}, "policyTypes": ["Ingress"]}))


def objects(text: str, namespace: str | None = None) -> tuple[Object, ...]:
    """The objects of a manifest that has no warnings."""
    manifest = parse(text.encode(), namespace)
    assert manifest.warnings == ()
    return manifest.objects


def faults(text: str | bytes, namespace: str | None = None, *, strict: bool = False) -> tuple[Fault, ...]:
    """The faults of a manifest that is refused."""
    with pytest.raises(InvalidInput) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), namespace, strict=strict)
    return caught.value.faults


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [NAMESPACE_A, POD_P, POLICY_P]}),
        "\n---\n".join(map(json.dumps, [NAMESPACE_A, POD_P, POLICY_P])),
        "\n".join(map(json.dumps, [NAMESPACE_A, POD_P, POLICY_P])),
        "---\n# nothing here\n---\n" + "\n---\n".join(map(json.dumps, [NAMESPACE_A, POD_P, POLICY_P])) + "\n---\n",
        "\ufeff" + json.dumps({"apiVersion": "v1", "kind": "List", "items": [NAMESPACE_A, POD_P, POLICY_P]}),
    ],
    ids=["list", "documents", "json-stream", "empty-documents", "byte-order-mark"],
)
def test_documents_lists_and_json_are_read_in_order(text: str) -> None:
    assert objects(text) == ALL


def test_items_of_a_list_of_one_kind_may_leave_their_kind_out() -> None:
    bare = {"metadata": {"name": "p", "namespace": "a"}}
    listed = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "metadata": {}, "items": [bare]}
    assert objects(json.dumps(listed)) == ALL[2:]


def test_the_namespace_of_the_request_is_for_objects_that_name_none() -> None:
    text = "{apiVersion: v1, kind: Pod, metadata: {name: p}}"
    assert [*objects(text), *objects(text, "a")] == [PodObject("default", "p"), PodObject("a", "p")]


def test_an_object_of_another_namespace_than_the_request_is_refused() -> None:
    (fault,) = faults(json.dumps(POD_P), "b")
    assert (fault.path, "does not match the namespace" in fault.message) == ("metadata.namespace", True)


def test_a_namespace_is_in_no_namespace() -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: x}}"
    assert objects(text, "b") == (NamespaceObject("a"),)


def test_all_faults_come_at_once_with_their_places() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: A, namespace: b.c, labels: {"-x": ok, y: "a b"}}
spec: {containers: [{ports: [{containerPort: 0}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: s}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: N}}
---
{kind: List, items: [3, {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {policyTypes: [x]}}]}
"""
    assert [fault.path for fault in faults(text)] == [
        "document 1: metadata.name",
        "document 1: metadata.namespace",
        "document 1: metadata.labels",
        "document 1: metadata.labels",
        "document 1: spec.containers[0].ports[0].containerPort",
        "document 2: kind",
        "document 3: metadata.name",
        "document 4: items[0]",
        "document 4: items[1]: spec.policyTypes[0]",
    ]


def test_a_flood_of_faults_is_cut_off_and_counted() -> None:
    policy = {**POLICY_P, "spec": {"ingress": [{"from": [{}]}] * 500}}
    found = faults(json.dumps(policy))
    assert (len(found), found[-1].message) == (FAULTS_MAX + 1, f"and {500 - FAULTS_MAX} more")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({**POD_P, "kind": "Service"}, 'no matches for kind "Service" in version "v1"'),
        ({**POD_P, "apiVersion": "v2"}, 'no matches for kind "Pod" in version "v2"'),
        ({**POD_P, "apiVersion": ["v1"]}, 'no matches for kind "Pod" in version ["v1"]'),
        ({"apiVersion": "v1"}, "Object 'Kind' is missing"),
    ],
)
def test_a_kind_that_we_do_not_take_is_named_with_those_that_we_do(document: dict[str, Any], words: str) -> None:
    (fault,) = faults(json.dumps(document))
    assert words in fault.message
    assert "networking.k8s.io/v1/NetworkPolicy, extensions/v1beta1/NetworkPolicy" in fault.message


def test_odd_fields_are_warnings_with_their_place_and_faults_when_strict() -> None:
    odd = json.dumps({**POLICY_P, "status": {}, "spec": {"ingres": [], "podSelector": {"matchlabels": {}}}})
    text = f"{json.dumps(NAMESPACE_A)}\n---\n{odd}"
    fields = ("status", "spec.ingres", "spec.podSelector.matchlabels")
    assert parse(text.encode()).warnings == tuple(f'document 2: unknown field "{field}"' for field in fields)
    assert [fault.path for fault in faults(text, strict=True)] == [f"document 2: {field}" for field in fields]


@pytest.mark.parametrize(
    "name", ["netpol", "networkpolicy", "networkpolicies", "NetworkPolicy", "networkpolicies.networking.k8s.io"]
)
def test_kinds_go_by_all_their_names(name: str) -> None:
    assert kind_named(name) is NETWORK_POLICY
    assert [kind_named(short) for short in ("po", "pods", "ns", "namespaces", "svc")] == [POD, POD, NAMESPACE, NAMESPACE, None]


def test_a_deletion_needs_no_more_than_kind_and_name() -> None:
    documents = [{**POLICY_P, "spec": 3}, NAMESPACE_A, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}}]
    text = "\n---\n".join(map(json.dumps, documents))
    assert identities(text.encode(), "b") == [
        Identity(NETWORK_POLICY, "a", "p"),
        Identity(NAMESPACE, "", "a"),
        Identity(POD, "b", "q"),
    ]


@pytest.mark.parametrize("metadata", [None, 3, [], {}, {"name": None}, {"name": 3}, {"name": ""}])
def test_a_deletion_without_a_name_is_refused(metadata: object) -> None:
    with pytest.raises(InvalidInput, match=r"metadata\.name"):
        identities(json.dumps({**POD_P, "metadata": metadata}).encode())
