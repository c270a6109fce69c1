"""What some policies compile to: groups, exact networks, nothing that a wider entry allows already."""

from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import pytest

from policyd import compiler
from policyd.cidr import EVERYONE, difference, disjoint
from policyd.cluster import Cluster, Endpoint, NamedPort, NamespaceState, PodState
from policyd.compiled import Compiled, Direction, Group, Network, PodInterface, PortPeers, Protocol, RangePeers
from policyd.compiler import Compiler, GroupKey, compile_cluster, group_ids
from policyd.policy import ObjectName
from policyd.policy_json import parse
from policyd.selection_index import SelectionIndex
from tests.policy_strategies import policy_object

TCP, UDP = Protocol.TCP, Protocol.UDP


def nets(*texts: str) -> frozenset[Network]:
    return frozenset(map(ip_network, texts))


def policy(name: str, **spec: Any) -> Any:
    return parse("ns", name, policy_object("ns", name, {"podSelector": {"matchLabels": {"app": "web"}}} | spec))


def pod(name: str, app: str = "web", http: int = 0, **fields: Any) -> PodState:
    ports = (NamedPort("http", http, TCP),) if http else ()
    return PodState("ns", name, labels={"app": app}, named_ports=ports, **fields)


def endpoint(name: str, number: int, node: str = "n1") -> Endpoint:
    return Endpoint("ns", name, "c", (IPv4Address("10.0.0.0") + number,), node, f"rom{name}")


def compiled(*policies: Any, pods: Any = (), endpoints: Any = ()) -> Compiled:
    cluster = Cluster.of([NamespaceState("ns")], [pod("w"), *pods], [endpoint("w", 1), *endpoints], policies)
    return compile_cluster(cluster, "n1")


def ingress(*rules: Any, **others: Any) -> Group:
    """The group of the pod that a policy with these ingress rules isolates."""
    (group,) = compiled(policy("p", ingress=list(rules)), **others).groups
    return group


def block(cidr: str, *excepts: str, **ports: Any) -> dict[str, Any]:
    return {"from": [{"ipBlock": {"cidr": cidr, "except": list(excepts)}}]} | ports


def ports(*entries: Any) -> dict[str, Any]:
    return {"ports": list(entries)}


def test_pod_that_is_not_isolated_is_there_without_groups() -> None:
    assert compiled() == Compiled((PodInterface("romw", (IPv4Address("10.0.0.1"),)),))


def test_isolated_pod_without_a_rule_has_an_empty_group() -> None:
    (group,) = compiled(policy("p", policyTypes=["Egress"])).groups
    assert group == Group(group.id, Direction.EGRESS)


def test_only_pods_of_the_node_that_run_on_the_pod_network_are_there() -> None:
    pods = [pod("far"), pod("done", phase="Succeeded"), pod("host", host_network=True), pod("new", uid="u2")]
    stale = Endpoint("ns", "new", "c", (IPv4Address("10.0.0.9"),), "n1", "romnew", "u1")
    endpoints = [endpoint("far", 2, "n2"), endpoint("done", 3), endpoint("host", 4), endpoint("unknown", 5), stale]
    assert [one.interface for one in compiled(pods=pods, endpoints=endpoints).pods] == ["romw"]


def test_endpoint_that_a_former_pod_of_the_name_left_is_absent() -> None:
    left = Endpoint("ns", "v", "old", (IPv4Address("10.0.0.9"),), "n1", "romold", "u1")
    found = compiled(pods=[pod("v", uid="u2")], endpoints=[left, endpoint("v", 2)])
    assert [one.interface for one in found.pods] == ["romv", "romw"]


def test_anonymous_endpoint_is_there_and_no_policy_isolates_it() -> None:
    anonymous = Endpoint("_", "_", "c", (IPv4Address("10.0.0.9"),), "n1", "roma")
    found = compiled(policy("p"), parse("_", "p", policy_object("_", "p", {})), endpoints=[anonymous])
    assert found.pods[0] == PodInterface("roma", (IPv4Address("10.0.0.9"),))


def test_pods_with_the_same_policies_share_a_group_and_its_id_is_stable() -> None:
    found = compiled(policy("p"), pods=[pod("v"), pod("u", "db")], endpoints=[endpoint("v", 2), endpoint("u", 3)])
    groups = {one.interface: one.ingress for one in found.pods}
    assert groups["romv"] == groups["romw"] == compiled(policy("p", ingress=[{}])).groups[0].id
    assert groups["romu"] is None
    assert groups["romw"] != compiled(policy("q")).groups[0].id


def test_peer_pods_become_networks_of_one_address() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "db"}}}
    group = ingress({"from": [peer]}, pods=[pod("d", "db")], endpoints=[endpoint("d", 7, "n2")])
    assert (group.peers, group.port_peers, group.ranges) == (nets("10.0.0.7/32"), frozenset(), ())


def test_everybody_is_given_in_halves() -> None:
    halves = nets("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")
    assert ingress({}).peers == halves == EVERYONE
    assert ingress(block("0.0.0.0/0")).peers == nets("0.0.0.0/1", "128.0.0.0/1")
    assert ingress(ports({"port": 80})).port_peers == {PortPeers(network, TCP, 80) for network in halves}


def test_except_is_subtracted_exactly_and_masks_no_other_rule() -> None:
    group = ingress(block("10.0.0.0/30", "10.0.0.1/32"), block("10.0.0.1/32"))
    assert group.peers == nets("10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/31")


def test_ports_become_entries_and_ranges() -> None:
    rule = block(
        "10.0.0.0/8", **ports({"port": 80}, {"port": 81, "endPort": 81}, {"port": 90, "endPort": 99}, {"protocol": "UDP"})
    )
    group = ingress(rule)
    ten = nets("10.0.0.0/8")
    assert group.port_peers == {PortPeers(network, TCP, port) for network in ten for port in (80, 81)}
    assert group.ranges == (RangePeers(TCP, 90, 99, ten), RangePeers(UDP, 0, 65535, ten))


def test_peers_of_the_same_range_are_merged() -> None:
    rules = [block(cidr, **ports({"port": 90, "endPort": 99})) for cidr in ("10.0.0.0/8", "11.0.0.0/8")]
    assert ingress(*rules).ranges == (RangePeers(TCP, 90, 99, nets("10.0.0.0/8", "11.0.0.0/8")),)


@pytest.mark.parametrize(
    "wider", [block("10.0.0.0/8"), block("10.0.0.0/7", **ports({})), block("10.1.0.0/16", **ports({"port": 80, "endPort": 90}))]
)
def test_what_a_wider_entry_allows_is_left_out(wider: Any) -> None:
    alone = ingress(wider)
    assert ingress(wider, block("10.1.0.0/16", **ports({"port": 80}, {"port": 80, "endPort": 81}))) == alone


@pytest.mark.parametrize(
    "other",
    [
        block("10.1.0.0/17"),
        block("10.1.0.0/16", **ports({"protocol": "UDP"})),
        block("10.1.0.0/16", **ports({"port": 81, "endPort": 90})),
    ],
)
def test_what_no_wider_entry_allows_whole_stays(other: Any) -> None:
    group = ingress(other, block("10.1.0.0/16", **ports({"port": 80})))
    assert group.port_peers == {PortPeers(IPv4Network("10.1.0.0/16"), TCP, 80)}


def test_everything_from_everybody_leaves_nothing_else() -> None:
    group = ingress(block("10.0.0.0/8", **ports({"port": 80}, {"protocol": "UDP"})), {})
    assert group == Group(group.id, Direction.INGRESS, peers=EVERYONE)


def test_everybody_of_one_family_leaves_the_other_as_it_is() -> None:
    group = ingress(
        block("0.0.0.0/0"), block("fd00::/8"), block("fd01::/16", **ports({"port": 80})), block("::/2", **ports({"port": 81}))
    )
    assert group.peers == nets("0.0.0.0/1", "128.0.0.0/1", "fd00::/8")
    assert group.port_peers == {PortPeers(network, TCP, 81) for network in nets("::/2")}


def test_nested_networks_of_one_port_are_left_out() -> None:
    rules = [block(cidr, **ports({"port": 80}, {"port": 90, "endPort": 99})) for cidr in ("10.0.0.0/8", "10.1.0.0/16")]
    assert ingress(*rules) == ingress(rules[0])


def test_named_ports_of_ingress_are_those_of_the_isolated_pod_and_part_of_its_group() -> None:
    rule = block("10.0.0.0/8", **ports({"port": "http"}))
    pods, endpoints = (
        [pod("a", http=8080), pod("b", http=8081), pod("c", http=8080)],
        [endpoint("a", 2), endpoint("b", 3), endpoint("c", 4)],
    )
    types = ["Ingress", "Egress"]
    found = compiled(policy("p", policyTypes=types, ingress=[rule]), pods=pods, endpoints=endpoints)
    assert len({one.egress for one in found.pods}) == 1
    groups = {group.id: {one.port for one in group.port_peers} for group in found.groups}
    named = {one.interface: groups[one.ingress or ""] for one in found.pods}
    assert named == {"roma": {8080}, "romb": {8081}, "romc": {8080}, "romw": set()}
    assert len(groups) == 3 + 1


def test_named_ports_of_egress_are_those_of_each_peer() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": "http"}]}
    pods, endpoints = (
        [pod("a", "db", 1), pod("b", "db", 2), pod("c", "db"), pod("d", "x", 4)],
        [endpoint(n, i) for i, n in enumerate("abcd", 2)],
    )
    (group,) = compiled(policy("p", policyTypes=["Egress"], egress=[rule]), pods=pods, endpoints=endpoints).groups
    assert group.port_peers == {PortPeers(IPv4Network("10.0.0.2/32"), TCP, 1), PortPeers(IPv4Network("10.0.0.3/32"), TCP, 2)}


@pytest.mark.parametrize(
    ("rule", "hosts"), [({}, {2, 5}), ({"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.2/31"]}}]}, {5})]
)
def test_named_ports_of_egress_to_addresses_are_those_of_the_pods_there(rule: Any, hosts: set[int]) -> None:
    pods, endpoints = [pod("a", "db", 80), pod("b", "db", 80)], [endpoint("a", 2), endpoint("b", 5)]
    spec = {"policyTypes": ["Egress"], "egress": [rule | ports({"port": "http"})]}
    (group,) = compiled(policy("p", **spec), pods=pods, endpoints=endpoints).groups
    assert group.port_peers == {PortPeers(ip_network(f"10.0.0.{number}/32"), TCP, 80) for number in hosts}


def test_group_is_not_compiled_again_while_nothing_of_it_changed() -> None:
    peer = {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}
    index = SelectionIndex.of(Cluster.of([], [pod("w"), pod("d", "db")], [endpoint("w", 1)], [policy("p", ingress=[peer])]))
    work = Compiler(index, "n1")
    first = work.compile()
    index.put_pod(pod("other", "x"))
    index.put_endpoint(endpoint("other", 8))
    assert work.compile().groups[0] is first.groups[0]
    index.put_endpoint(endpoint("d", 9, "n2"))
    assert work.compile().groups[0].peers == nets("10.0.0.9/32")
    index.put_endpoint(endpoint("d", 10, "n2"))
    assert work.compile().groups[0].peers == nets("10.0.0.10/32")
    index.put_policy(policy("p", ingress=[]))
    assert work.compile().groups[0] == Group(first.groups[0].id, Direction.INGRESS)


def test_peer_that_renames_its_ports_is_compiled_again() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": "http"}]}
    pods, endpoints = [pod("w"), pod("d", "db", 1)], [endpoint("w", 1), endpoint("d", 2)]
    spec = {"policyTypes": ["Egress"], "egress": [rule]}
    index = SelectionIndex.of(Cluster.of([], pods, endpoints, [policy("p", **spec)]))
    work = Compiler(index, "n1")
    work.compile()
    index.put_pod(pod("d", "db", 7))
    assert work.compile().groups[0].port_peers == {PortPeers(IPv4Network("10.0.0.2/32"), TCP, 7)}


def test_what_no_group_needs_any_longer_is_forgotten() -> None:
    peer = {"from": [{"podSelector": {"matchLabels": {"app": "db"}}}], "ports": [{"port": 80}]}
    index = SelectionIndex.of(Cluster.of([], [pod("w"), pod("d", "db")], [endpoint("w", 1), endpoint("d", 2)]))
    work = Compiler(index, "n1")
    for _ in range(3):
        index.put_policy(policy("p", ingress=[peer]))
        work.compile()
        assert len(index._kept) == len(work._members._networks) == 1
        index.remove_policy(ObjectName("ns", "p"))
        work.compile()
        assert not index._kept
        assert not work._members._networks
        work.compile()
        assert not work._entries._before
        assert not work._entries._recent


def test_ids_never_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "ID_DIGITS", 1)
    keys = [GroupKey(Direction.INGRESS, (ObjectName("ns", str(number)),)) for number in range(16)]
    ids = group_ids(keys)
    assert len(set(ids.values())) == 16
    assert ids == group_ids(reversed(keys))


def test_keys_that_differ_in_ports_only_have_other_ids() -> None:
    names = (ObjectName("a", "b"),)
    keys = [
        GroupKey(Direction.INGRESS, names, numbers)
        for numbers in ((), (("http", "TCP", 1),), (("http", "UDP", 1),), (("http", "TCP", 2),))
    ]
    assert len(set(group_ids([*keys, GroupKey(Direction.EGRESS, names)]).values())) == 5


@pytest.mark.parametrize(
    ("cidr", "excepts", "rest"),
    [
        ("10.0.0.0/8", (), nets("10.0.0.0/8")),
        ("10.0.0.0/30", ("10.0.0.0/31", "10.0.0.0/32"), nets("10.0.0.2/31")),
        ("10.0.0.0/30", ("10.0.0.0/32", "10.0.0.0/31"), nets("10.0.0.2/31")),
        ("10.0.0.0/31", ("10.0.0.0/32", "10.0.0.1/32"), nets()),
        ("::/0", ("8000::/1",), nets("::/1")),
        ("0.0.0.0/0", ("128.0.0.0/2",), nets("0.0.0.0/1", "192.0.0.0/2")),
    ],
)
def test_difference(cidr: str, excepts: tuple[str, ...], rest: frozenset[Network]) -> None:
    assert difference(ip_network(cidr), tuple(map(ip_network, excepts))) == rest


def test_nested_networks_are_left_out_and_neighbours_are_not_merged() -> None:
    mixed = nets("10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "11.0.0.0/32", "11.0.0.1/32", "::/1", "fd00::/8", "1::/16")
    assert disjoint(mixed) == nets("10.0.0.0/8", "11.0.0.0/32", "11.0.0.1/32", "::/1", "fd00::/8")
