"""Small clusters and NetworkPolicy objects for the property tests: few words and addresses, so that they meet often.

Policies are drawn as the JSON of the API, so that the same draw feeds our parser and the naive evaluator.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from policyd.cluster import Endpoint, NamedPort, NamespaceState, PodState
from policyd.compiled import Address, Protocol
from policyd.policy import ObjectName

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Worlds take long to draw on a busy machine; that is no fault."""

NAMESPACES = ("a", "b", "c")
PODS = tuple(ObjectName(namespace, name) for namespace in NAMESPACES for name in ("p", "q", "r"))
NODES = ("n1", "n2")
PORT_NAMES = ("http", "dns")
PORTS = (80, 53, 81, 1, 65535)
OUTSIDE: tuple[Address, ...] = (*map(IPv4Address, ("10.0.0.0", "10.0.0.14", "192.0.2.9")), IPv6Address("fd00::f"))

LABELS: st.SearchStrategy[dict[str, str]] = st.sampled_from(
    [{}, {"k": "1"}, {"k": "2"}, {"k": "1", "l": "1"}, {"l": "2"}, {"k": "2", "l": "1"}]
)


def addresses(name: ObjectName) -> tuple[Address, ...]:
    """Both addresses of a pod: 10.0.0.1 to .9, fd00::1 to ::9."""
    number = PODS.index(name) + 1
    return (IPv4Address("10.0.0.0") + number, IPv6Address("fd00::") + number)


def absent_or(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with that field; now and then with null in it, or without it."""
    given = values.map(lambda value: {field: value})
    return st.one_of(given, given, given, given, st.sampled_from([{}, {field: None}]))


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """One object of several."""
    return st.tuples(*parts).map(lambda drawn: {key: value for part in drawn for key, value in part.items()})


VALUES = st.lists(st.sampled_from(["1", "2", "3"]), min_size=1, max_size=2)
EXPRESSIONS = st.builds(
    lambda key, operator, values: {"key": key, "operator": operator} | ({"values": values} if operator.endswith("In") else {}),
    st.sampled_from(["k", "l", "m"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    VALUES,
)
SELECTORS = st.one_of(
    st.just({}),
    LABELS.map(lambda labels: {"matchLabels": labels}),
    EXPRESSIONS.map(lambda expression: {"matchExpressions": [expression]}),
    merged(absent_or("matchLabels", LABELS), absent_or("matchExpressions", st.lists(EXPRESSIONS, max_size=2))),
)
BLOCKS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "::/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/29", "10.0.0.4/31"]},
        {"cidr": "10.0.0.0/29", "except": ["10.0.0.1/32", "10.0.0.5/32"]},
        {"cidr": "10.0.0.3/28"},
        {"cidr": "10.0.0.4/30"},
        {"cidr": "10.0.0.2/32", "except": []},
        {"cidr": "fd00::/124", "except": ["fd00::2/127"]},
        {"cidr": "::/0", "except": ["fd00::/125"]},
    ]
)
PEERS = st.one_of(
    SELECTORS.map(lambda pods: {"podSelector": pods}),
    SELECTORS.map(lambda namespaces: {"namespaceSelector": namespaces, "podSelector": None}),
    st.builds(lambda pods, namespaces: {"podSelector": pods, "namespaceSelector": namespaces}, SELECTORS, SELECTORS),
    BLOCKS.map(lambda block: {"ipBlock": block}),
)
PORT_VALUES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{}, {"port": "http"}, {"port": "dns"}, {"port": 80}, {"port": 53}, {"port": 81}]),
    st.sampled_from([{"port": 53, "endPort": 80}, {"port": 80, "endPort": 80}, {"port": 1, "endPort": 65535}]),
)
PORT_ENTRIES = merged(absent_or("protocol", st.sampled_from(["TCP", "UDP", "SCTP"])), PORT_VALUES)


def mostly(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """One to three of them, seldom none."""
    some = st.lists(values, min_size=1, max_size=3)
    return st.one_of(some, some, some, st.just([]))


def rules(peers: str) -> st.SearchStrategy[list[Any]]:
    """Rules of one direction."""
    peer_lists, port_lists = mostly(PEERS), mostly(PORT_ENTRIES)
    return mostly(merged(absent_or(peers, peer_lists), absent_or("ports", port_lists)))


TYPES = absent_or("policyTypes", st.sampled_from([["Ingress", "Egress"], ["Ingress"], ["Egress"], []]))
SPECS = merged(absent_or("podSelector", SELECTORS), TYPES, absent_or("ingress", rules("from")), absent_or("egress", rules("to")))


def policy_object(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A whole NetworkPolicy."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


POLICIES = st.builds(policy_object, st.sampled_from(NAMESPACES), st.sampled_from(["s", "t"]), SPECS)
NAMED_PORTS = st.lists(
    st.builds(NamedPort, st.sampled_from(PORT_NAMES), st.sampled_from(PORTS[:3]), st.sampled_from(list(Protocol)[:2])),
    max_size=3,
).map(tuple)


def named_policy(namespace: str, name: str) -> st.SearchStrategy[dict[str, Any] | None]:
    """A policy of that name, or none."""
    some = SPECS.map(lambda spec: policy_object(namespace, name, spec))
    return st.one_of(some, some, st.none())


def policy_lists() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some of the policies that there are names for."""
    every = st.tuples(*(named_policy(namespace, name) for namespace in NAMESPACES for name in ("s", "t")))
    return every.map(lambda drawn: [policy for policy in drawn if policy])


def pod_state(name: ObjectName, odd: bool = False) -> st.SearchStrategy[PodState]:
    """A pod that runs; an odd one may have finished, be on its node's network, or have a UID."""
    fields: dict[str, st.SearchStrategy[Any]] = {"labels": LABELS, "named_ports": NAMED_PORTS, "deleting": st.booleans()}
    if odd:
        phases = st.sampled_from(["", "Pending", "Running", "Failed", "Succeeded"])
        fields |= {"uid": UIDS, "phase": phases, "host_network": st.sampled_from([False, False, True])}
    return st.builds(lambda **drawn: PodState(*name, **drawn), **fields)


UIDS = st.sampled_from(["", "u", "v"])
FAMILIES = st.sampled_from([slice(0, 2), slice(0, 1), slice(1, 2)])


def endpoint(name: ObjectName, node: str, families: slice = slice(0, 2), uid: str = "", container: str = "c") -> Endpoint:
    """A pod's endpoint; its interface is named for it."""
    return Endpoint(*name, container, addresses(name)[families], node, f"rom{name.namespace}{name.name}", uid)


def endpoints(name: ObjectName, odd: bool = False) -> st.SearchStrategy[Endpoint]:
    """An endpoint of a pod; an odd one may lack a family or belong to another pod of that name."""
    nodes = st.sampled_from(NODES)
    return st.builds(endpoint, st.just(name), nodes, FAMILIES, UIDS) if odd else st.builds(endpoint, st.just(name), nodes)


ANONYMOUS = st.builds(
    lambda node: Endpoint("_", "_", "c", (IPv4Address("10.0.0.13"), IPv6Address("fd00::d")), node, "rom_"), st.sampled_from(NODES)
)
NAMESPACE_STATES = st.builds(NamespaceState, st.sampled_from(NAMESPACES), LABELS)


@dataclass(frozen=True)
class World:
    """A drawn cluster; `policies` are raw."""

    namespaces: list[NamespaceState]
    pods: list[PodState]
    endpoints: list[Endpoint]
    policies: list[dict[str, Any]]


@st.composite
def worlds(draw: st.DrawFn, *, odd: bool = True) -> World:
    """Clusters of nine pods in three namespaces; with `odd`, some objects are missing or unlike the others."""
    oddities = st.sampled_from([False, False, False, odd])
    namespaces = [
        NamespaceState(name, draw(LABELS)) for name in NAMESPACES if not (odd and draw(st.sampled_from([0, 0, 0, 0, 1])))
    ]
    pods = [draw(pod_state(name, draw(oddities))) for name in PODS]
    found = [draw(endpoints(name, draw(oddities))) for name in PODS]
    anonymous = draw(st.lists(ANONYMOUS, max_size=1))
    dropped = draw(st.sets(st.sampled_from(PODS), max_size=1)) if odd else set()
    return World(namespaces, [pod for pod in pods if pod.key not in dropped], [*found, *anonymous], draw(policy_lists()))


PROBES = st.tuples(st.sampled_from(list(Protocol)), st.sampled_from(PORTS)) | st.just((None, None))
