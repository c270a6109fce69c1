"""Which namespaces' pods a node hears of."""

from typing import Any

import pytest

from policyd.cluster import NamespaceState, PodState
from policyd.policy_json import parse
from policyd.selection_scope import ALL, namespaces_in_scope
from tests.policy_strategies import policy_object

NAMESPACES = {name: NamespaceState(name, {"team": team}) for name, team in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"))}
POD = PodState("a", "p", labels={"app": "web"})
TEAM_X = {"namespaceSelector": {"matchLabels": {"team": "x"}}, "podSelector": {"matchLabels": {"app": "db"}}}
ANY_NAMESPACE: dict[str, Any] = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}
NAMED = [{"port": "http"}]


def scope(spec: Any, pod: PodState = POD, namespace: str = "a") -> object:
    policy = parse(namespace, "p", policy_object(namespace, "p", spec))
    return namespaces_in_scope([policy], [pod], NAMESPACES)


def test_without_policies_it_is_the_pods_own_namespace() -> None:
    assert namespaces_in_scope([], [POD], NAMESPACES) == frozenset({"a"})
    assert namespaces_in_scope([], [], NAMESPACES) == frozenset()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, {"a"}),
        ({"ingress": [{"from": [TEAM_X]}]}, {"a", "b"}),
        ({"egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": "z"}}}]}]}, {"a", "d"}),
        ({"policyTypes": ["Ingress"], "egress": [{"to": [ANY_NAMESPACE]}]}, {"a"}),
        ({"ingress": [{"from": [ANY_NAMESPACE]}]}, ALL),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, {}]}, {"a"}),
        ({"ingress": [{"ports": NAMED}]}, {"a"}),
        ({"egress": [{"ports": [{"port": 80}]}]}, {"a"}),
        ({"egress": [{"to": [TEAM_X], "ports": NAMED}]}, {"a", "b"}),
        ({"egress": [{"ports": NAMED}]}, ALL),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": NAMED}]}, ALL),
        ({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [ANY_NAMESPACE]}]}, {"a"}),
    ],
)
def test_policies_of_local_pods_add_the_namespaces_that_they_can_mean(spec: Any, expected: object) -> None:
    assert scope(spec) == expected


def test_policies_of_other_pods_add_nothing() -> None:
    wide = {"ingress": [{"from": [ANY_NAMESPACE]}]}
    assert scope(wide, namespace="b") == frozenset({"a"})
    assert scope(wide, PodState("a", "p", phase="Failed")) == frozenset({"a"})
    assert scope(wide, PodState("a", "p", host_network=True)) == frozenset({"a"})
