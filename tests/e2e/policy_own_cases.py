"""Cases of our own, in the form of tests.cases: what the conformance suites leave out, and the blog's policy in its own spelling.

Rows are sources, columns destinations, in the order of PODS: `1` must connect, `0` must not. `web` is port 80, but 81 on ops/log.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from tests.cases import Case

__all__ = ["OWN_CASES", "network_policy"]

PODS = ("shop/front", "shop/back", "ops/probe", "ops/log")
ROLES = {"shop/front": "frontend", "shop/back": "backend", "ops/probe": "frontend", "ops/log": "log"}
NAMESPACES = {"shop": {"team": "shop"}, "ops": {"team": "ops"}}

EVERYBODY = [".111", "1.11", "11.1", "111."]
NOBODY_TO_BACK = [".011", "1.11", "10.1", "101."]
ONLY_FRONT_TO_BACK = [".111", "1.11", "10.1", "101."]
FRONTENDS_TO_BACK = [".111", "1.11", "11.1", "101."]

BLOG = "ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}], ports: [{protocol: TCP, port: 80}]}]"

Expected = Mapping[str, list[str]]
Action = Mapping[str, Any]


def network_policy(
    role: str, rules: str, *, namespace: str = "shop", name: str = "p", api: str = "networking.k8s.io/v1"
) -> dict[str, Any]:
    """A NetworkPolicy for the pods of a role (empty: for all), its rules as YAML."""
    selector = {"matchLabels": {"role": role}} if role else {}
    metadata = {"namespace": namespace, "name": name}
    spec = {"podSelector": selector, **yaml.safe_load(rules)}
    return {"apiVersion": api, "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _policy(role: str, rules: str, namespace: str = "shop", name: str = "p") -> Action:
    return {"create_policy": network_policy(role, rules, namespace=namespace, name=name)}


def _delete(name: str = "p", namespace: str = "shop") -> Action:
    return {"delete_policy": {"namespace": namespace, "name": name}}


def _pod(name: str) -> dict[str, Any]:
    namespace, _, short = name.partition("/")
    web, other = (81, 80) if name == "ops/log" else (80, 81)
    ports = [("web", web, "TCP"), ("other", other, "TCP"), ("dns", 53, "UDP"), ("sig", 9, "SCTP")]
    return {
        "namespace": namespace,
        "name": short,
        "labels": {"role": ROLES[name]},
        "ports": [{"name": word, "port": number, "protocol": protocol} for word, number, protocol in ports],
        "nominal_ip": f"10.40.0.{PODS.index(name)}",
    }


def _case(name: str, *steps: tuple[list[Action], Expected]) -> Case:
    cluster = {"namespaces": NAMESPACES, "pods": [_pod(pod) for pod in PODS]}
    told = [{"actions": actions, "pods": list(PODS), "expected": expected} for actions, expected in steps]
    return Case(name, name, (), ip_dependent=False, cluster=cluster, steps=tuple(told))


OWN_CASES = [
    _case(
        "the-blogs-policy-as-v1beta1",
        (
            [{"create_policy": network_policy("backend", BLOG.replace("TCP", "tcp"), api="extensions/v1beta1")}],
            {"TCP/80": ONLY_FRONT_TO_BACK, "TCP/81": NOBODY_TO_BACK, "UDP/80": NOBODY_TO_BACK},
        ),
        ([_delete()], {"TCP/80": EVERYBODY, "TCP/81": EVERYBODY}),
    ),
    _case(
        "egress-to-a-block-with-an-exception",
        (
            [
                _policy(
                    "frontend",
                    "{egress: [{to: [{ipBlock: {cidr: 10.40.0.0/16, except: ['${ip:ops/probe}/32']}}]}], policyTypes: [Egress]}",
                )
            ],
            {service: [".101", "1.11", "11.1", "111."] for service in ("TCP/80", "UDP/53", "SCTP/9")},
        ),
    ),
    _case(
        "a-named-port-of-ingress-is-what-each-selected-pod-says",
        (
            [_policy("", "ingress: [{ports: [{port: web}]}]", "ops")],
            {"TCP/80": [".110", "1.10", "11.0", "111."], "TCP/81": [".101", "1.01", "11.1", "110."]},
        ),
    ),
    _case(
        "a-named-port-of-egress-is-what-each-peer-says",
        (
            [_policy("frontend", "{egress: [{to: [{namespaceSelector: {}}], ports: [{port: web}]}], policyTypes: [Egress]}")],
            {"TCP/80": [".110", "1.11", "11.1", "111."], "TCP/81": [".001", "1.11", "11.1", "111."]},
        ),
    ),
    _case(
        "a-range-of-ports-ends-where-it-says",
        (
            [_policy("backend", "ingress: [{ports: [{port: 80, endPort: 81}]}]")],
            {"TCP/80": EVERYBODY, "TCP/81": EVERYBODY} | dict.fromkeys(("TCP/79", "TCP/82", "UDP/80", "SCTP/80"), NOBODY_TO_BACK),
        ),
    ),
    _case(
        "sctp-is-a-protocol-of-its-own",
        (
            [
                _policy(
                    "backend",
                    "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: frontend}}}],"
                    " ports: [{protocol: SCTP, port: sig}]}]",
                )
            ],
            {"SCTP/9": FRONTENDS_TO_BACK, "SCTP/10": NOBODY_TO_BACK, "TCP/9": NOBODY_TO_BACK, "UDP/9": NOBODY_TO_BACK},
        ),
    ),
    _case(
        "deny-everything-both-ways",
        (
            [_policy("", "policyTypes: [Ingress, Egress]")],
            {service: [".000", "0.00", "00.1", "001."] for service in ("TCP/80", "UDP/53", "SCTP/9")},
        ),
    ),
    _case(
        "an-empty-from-is-everybody-and-an-empty-ingress-nobody",
        (
            [_policy("backend", "ingress: [{from: [], ports: [{port: 80}]}]")],
            {"TCP/80": EVERYBODY, "TCP/81": NOBODY_TO_BACK},
        ),
        ([_policy("backend", "ingress: []")], {"TCP/80": NOBODY_TO_BACK, "TCP/81": NOBODY_TO_BACK}),
        ([_policy("backend", "ingress: [{}]")], {"TCP/80": EVERYBODY, "UDP/53": EVERYBODY, "SCTP/9": EVERYBODY}),
    ),
    _case(
        "selectors-of-one-peer-mean-both-and-of-two-peers-either",
        (
            [
                _policy(
                    "",
                    "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}},"
                    " podSelector: {matchLabels: {role: frontend}}}]}]",
                )
            ],
            {"TCP/80": [".011", "0.11", "11.1", "001."]},
        ),
        (
            [
                _policy(
                    "",
                    "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}},"
                    " {podSelector: {matchLabels: {role: frontend}}}]}]",
                )
            ],
            {"TCP/80": [".111", "0.11", "11.1", "111."]},
        ),
    ),
    _case(
        "policies-of-a-pod-add-up-and-both-ends-must-allow",
        (
            [_policy("backend", BLOG), _policy("backend", "ingress: [{ports: [{port: 81}]}]", name="q")],
            {"TCP/80": ONLY_FRONT_TO_BACK, "TCP/81": EVERYBODY, "UDP/53": NOBODY_TO_BACK},
        ),
        (
            [
                _policy(
                    "frontend",
                    "{egress: [{to: [{podSelector: {}}], ports: [{port: 81}]}], policyTypes: [Egress]}",
                    name="r",
                )
            ],
            {
                "TCP/80": [".000", "1.11", "10.1", "101."],
                "TCP/81": [".100", "1.11", "11.1", "111."],
                "UDP/53": [".000", "1.11", "10.1", "101."],
            },
        ),
    ),
    _case(
        "labels-that-change-take-effect-on-every-node",
        ([_policy("backend", BLOG)], {"TCP/80": ONLY_FRONT_TO_BACK}),
        (
            [{"set_pod_labels": {"namespace": "shop", "pod": "front", "labels": {"role": "former"}}}],
            {"TCP/80": NOBODY_TO_BACK},
        ),
        (
            [_policy("backend", "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]")],
            {"TCP/80": [".011", "1.11", "11.1", "111."]},
        ),
        ([{"set_namespace_labels": {"namespace": "ops", "labels": {"team": "dev"}}}], {"TCP/80": NOBODY_TO_BACK}),
        ([{"set_namespace_labels": {"namespace": "shop", "labels": {"team": "ops"}}}], {"TCP/80": ONLY_FRONT_TO_BACK}),
    ),
]
