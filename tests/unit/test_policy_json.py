"""Reading NetworkPolicy objects: what each field becomes, what is refused, and how what is refused closes."""

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from policyd.compiled import Protocol
from policyd.policy import IpBlock, NamedPorts, NetworkPolicy, NumberedPorts, PodPeer, Rule
from policyd.policy_json import parse, parse_closed
from policyd.selector import EVERYTHING, Operator, Requirement, Selector
from romana.errors import InvalidInput
from tests.policy_strategies import policy_object

APP = Selector(frozenset([Requirement("app", Operator.IN, frozenset(["web"]))]))


def read(**spec: Any) -> NetworkPolicy:
    return parse("ns", "p", policy_object("ns", "p", spec))


def faults(document: Any) -> list[str]:
    with pytest.raises(InvalidInput, match="ns/p") as caught:
        parse("ns", "p", document)
    return [fault.path for fault in caught.value.faults]


def peer(value: Any) -> dict[str, Any]:
    return {"ingress": [{"from": [value]}]}


def port(value: Any) -> dict[str, Any]:
    return {"ingress": [{"ports": [value]}]}


def test_absent_pod_selector_selects_every_pod_and_ingress_is_the_default_type() -> None:
    assert read() == NetworkPolicy("ns", "p", EVERYTHING, (), None)


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({"egress": [{}]}, (), (Rule(),)),
        ({"egress": []}, (), None),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, None, ()),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, (), None),
        ({"policyTypes": ["Ingress", "Egress"]}, (), ()),
        ({"policyTypes": []}, (), None),
    ],
)
def test_policy_types_say_which_directions_are_isolated(spec: Any, ingress: Any, egress: Any) -> None:
    policy = read(**spec)
    assert (policy.ingress, policy.egress) == (ingress, egress)


@pytest.mark.parametrize("empty", [{}, {"from": None, "ports": None}, {"from": [], "ports": []}])
def test_no_peers_are_everybody_and_no_ports_are_all(empty: dict[str, Any]) -> None:
    assert read(ingress=[empty]).ingress == (Rule(),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"podSelector": {"matchLabels": {"app": "web"}}}, PodPeer("ns", APP)),
        ({"podSelector": {}}, PodPeer("ns", EVERYTHING)),
        ({"namespaceSelector": {}}, PodPeer(EVERYTHING, EVERYTHING)),
        ({"namespaceSelector": {"matchLabels": {"app": "web"}}, "podSelector": {}}, PodPeer(APP, EVERYTHING)),
        ({"ipBlock": {"cidr": "10.0.0.1/8"}}, IpBlock(IPv4Network("10.0.0.0/8"))),
        ({"ipBlock": {"cidr": "fd00::/8", "except": ["fd00::/9"]}}, IpBlock(IPv6Network("fd00::/8"), (IPv6Network("fd00::/9"),))),
    ],
)
def test_peer_becomes(value: Any, expected: object) -> None:
    assert read(**peer(value)).ingress == (Rule((expected,)),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, NumberedPorts(Protocol.TCP, 0, 65535)),
        ({"protocol": "UDP"}, NumberedPorts(Protocol.UDP, 0, 65535)),
        ({"protocol": "SCTP", "port": 7}, NumberedPorts(Protocol.SCTP, 7, 7)),
        ({"port": 7, "endPort": 9}, NumberedPorts(Protocol.TCP, 7, 9)),
        ({"port": "http-8"}, NamedPorts(Protocol.TCP, "http-8")),
    ],
)
def test_ports_become(value: Any, expected: object) -> None:
    assert read(**port(value)).ingress == (Rule((), (expected,)),)  # type: ignore[arg-type]


def test_match_labels_and_expressions_are_all_required() -> None:
    expressions = [{"key": "k", "operator": "NotIn", "values": ["1"]}, {"key": "e", "operator": "Exists"}]
    selector = read(podSelector={"matchLabels": {"app": "web"}, "matchExpressions": expressions}).selector
    assert selector.matches({"app": "web", "e": ""})
    assert not selector.matches({"app": "web", "e": "", "k": "1"})
    assert not selector.matches({"app": "web"})


CIDR = "spec.ingress[0].from[0].ipBlock.cidr"
EXCEPT = "spec.ingress[0].from[0].ipBlock.except[0]"
PORT = "spec.ingress[0].ports[0].port"
END_PORT = "spec.ingress[0].ports[0].endPort"


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({"policyType": ["Ingress"]}, ["spec.policyType"]),
        ({"policyTypes": ["Ingres"]}, ["spec.policyTypes[0]"]),
        ({"policyTypes": [[]]}, ["spec.policyTypes[0]"]),
        ({"policyTypes": "Ingress"}, ["spec.policyTypes"]),
        ({"podSelector": []}, ["spec.podSelector"]),
        ({"podSelector": {"matchLabel": {}}}, ["spec.podSelector.matchLabel"]),
        ({"podSelector": {"matchLabels": {"a": 1}}}, ["spec.podSelector.matchLabels"]),
        ({"podSelector": {"matchLabels": {"a b": "1"}}}, ["spec.podSelector.matchLabels"]),
        ({"ingress": {}}, ["spec.ingress"]),
        ({"ingress": [None]}, ["spec.ingress[0]"]),
        ({"ingress": [{"to": []}]}, ["spec.ingress[0].to"]),
        ({"egress": [{"from": []}]}, ["spec.egress[0].from"]),
        (peer({}), ["spec.ingress[0].from[0]"]),
        (peer({"podSelector": None}), ["spec.ingress[0].from[0]"]),
        (peer({"podselector": {}}), ["spec.ingress[0].from[0].podselector", "spec.ingress[0].from[0]"]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}), ["spec.ingress[0].from[0]"]),
        (peer({"ipBlock": {}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "10.0.0.0"}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/33"}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/255.0.0.0"}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "fe80::%1/64"}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "::ffff:10.0.0.0/104"}}), [CIDR]),
        (peer({"ipBlock": {"cidr": 10}}), [CIDR]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}), [EXCEPT]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}), [EXCEPT]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/7"]}}), [EXCEPT]),
        (peer({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/16"]}}), [EXCEPT]),
        (port({"port": 0}), [PORT]),
        (port({"port": 65536}), [PORT]),
        (port({"port": True}), [PORT]),
        (port({"port": "80"}), [PORT]),
        (port({"port": "a--b"}), [PORT]),
        (port({"port": "a" * 16}), [PORT]),
        (port({"port": "http\n"}), [PORT]),
        (port({"port": 1.5}), [PORT]),
        (port({"port": 9, "endPort": 8}), [END_PORT]),
        (port({"port": 9, "endPort": 65536}), [END_PORT]),
        (port({"port": "http", "endPort": 8}), [END_PORT]),
        (port({"endPort": 8}), [END_PORT]),
        (port({"protocol": "tcp"}), ["spec.ingress[0].ports[0].protocol"]),
        (port({"protocol": "ICMP"}), ["spec.ingress[0].ports[0].protocol"]),
        (port({"ports": 8}), ["spec.ingress[0].ports[0].ports"]),
    ],
)
def test_unknown_or_malformed_field_is_named(spec: Any, paths: list[str]) -> None:
    assert faults(policy_object("ns", "p", spec)) == paths


@pytest.mark.parametrize(
    ("expression", "field"),
    [
        ({"key": "k", "operator": "in", "values": ["1"]}, "operator"),
        ({"key": "k", "operator": "In"}, "values"),
        ({"key": "k", "operator": "NotIn", "values": []}, "values"),
        ({"key": "k", "operator": "Exists", "values": ["1"]}, "values"),
        ({"key": "k", "operator": "In", "values": [1]}, "values"),
        ({"operator": "Exists"}, "key"),
        ({"key": "k", "operator": "Exists", "value": "1"}, "value"),
    ],
)
def test_malformed_expression_is_named(expression: Any, field: str) -> None:
    document = policy_object("ns", "p", {"podSelector": {"matchExpressions": [expression]}})
    assert faults(document) == [f"spec.podSelector.matchExpressions[0].{field}"]


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused_and_closes_the_whole_namespace(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="ns/p"):
        parse("ns", "p", text)
    closed = parse_closed("ns", "p", text)
    assert (closed.selector, closed.ingress, closed.egress) == (EVERYTHING, (), ())
    assert "ns/p" in closed.problem


def test_object_of_another_name_version_or_kind_is_refused() -> None:
    document = policy_object("other", "q", {}) | {"apiVersion": "extensions/v1beta1", "kind": "Policy"}
    assert faults(document) == ["apiVersion", "kind", "metadata.namespace", "metadata.name"]


def test_bytes_of_the_store_are_read() -> None:
    text = json.dumps(policy_object("ns", "p", {"ingress": [{}]})).encode()
    assert parse("ns", "p", text) == parse_closed("ns", "p", text) == read(ingress=[{}])


@pytest.mark.parametrize(
    ("spec", "selector", "ingress", "egress"),
    [
        ({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [{}, {"x": 1}]}, APP, None, ()),
        ({"podSelector": {"matchLabels": {"app": "web"}}, "egres": [{}]}, APP, (), ()),
        ({"podSelector": {"matchLabels": {"app": 1}}, "policyTypes": ["Ingress"]}, EVERYTHING, (), None),
        ({"podSelector": 1, "policyTypes": ["Ingress", "Both"]}, EVERYTHING, (), ()),
        (7, EVERYTHING, (), ()),
    ],
)
def test_policy_that_cannot_be_read_isolates_what_it_selects_and_allows_nothing(
    spec: Any, selector: Selector, ingress: Any, egress: Any
) -> None:
    closed = parse_closed("ns", "p", policy_object("ns", "p", spec))
    assert (closed.selector, closed.ingress, closed.egress) == (selector, ingress, egress)
    assert closed.problem.startswith("NetworkPolicy ns/p is not valid:")
