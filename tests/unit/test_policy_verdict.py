"""Verdicts name what decides; and who is a party of one."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest

from policyd.cluster import Cluster, Endpoint, NamedPort, NamespaceState, PodState
from policyd.compiled import Address, Protocol
from policyd.policy import ObjectName
from policyd.policy_json import parse_closed
from policyd.verdict import Party, Reason, Verdict, verdict
from romana.errors import InvalidInput
from tests.policy_strategies import policy_object

WEB, DB, OTHER = ObjectName("shop", "web"), ObjectName("shop", "db"), ObjectName("lab", "web")
ADDRESS: dict[ObjectName, Address] = {name: IPv4Address(f"10.0.0.{number}") for number, name in enumerate([WEB, DB, OTHER], 1)}
DENY = policy_object("shop", "deny", {"policyTypes": ["Ingress", "Egress"]})
OPEN = policy_object(
    "shop",
    "open",
    {
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [
            {"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}]},
            {
                "from": [{"podSelector": {"matchLabels": {"app": "x"}}}, {"namespaceSelector": {}}],
                "ports": [{"port": 1}, {"port": "sql"}],
            },
        ],
    },
)


def pod(name: ObjectName, sql: int = 5432, **fields: Any) -> PodState:
    return PodState(*name, labels={"app": name.name}, named_ports=(NamedPort("sql", sql, Protocol.TCP),), **fields)


def endpoint(name: ObjectName, *addresses: Address, uid: str = "") -> Endpoint:
    return Endpoint(*name, "c", addresses or (ADDRESS[name],), "n1", f"rom{name.name}", uid)


def cluster(*policies: Any, pods: Any = None, endpoints: Any = None) -> Cluster:
    namespaces = [NamespaceState("shop", {"team": "a"}), NamespaceState("lab")]
    names = (WEB, DB, OTHER)
    return Cluster.of(
        namespaces,
        pods if pods is not None else map(pod, names),
        endpoints if endpoints is not None else map(endpoint, names),
        [parse_closed(one["metadata"]["namespace"], one["metadata"]["name"], one) for one in policies],
    )


def judge(where: Cluster, source: Party, destination: Party, port: int = 5432) -> Verdict:
    return verdict(where, source, destination, port, Protocol.TCP)


def test_pod_that_no_policy_selects_is_not_isolated() -> None:
    found = judge(cluster(DENY), OTHER, IPv4Address("192.0.2.1"))
    assert found.allowed
    assert (found.egress.reason, found.ingress.reason) == (Reason.NOT_ISOLATED, Reason.OUTSIDE)


def test_deciding_rule_is_named_with_its_peer_and_port() -> None:
    found = judge(cluster(DENY, OPEN), OTHER, DB)
    assert found.allowed
    assert str(found.ingress) == "allowed by shop/open ingress[1].from[1] ports[1]"
    assert found.ingress.isolating == (ObjectName("shop", "deny"), ObjectName("shop", "open"))


def test_without_a_matching_rule_all_isolating_policies_are_named() -> None:
    found = judge(cluster(DENY, OPEN), WEB, DB, 2)
    assert not found.allowed
    assert str(found.egress) == "no rule matched; isolated by shop/deny"
    assert str(found.ingress) == "no rule matched; isolated by shop/deny, shop/open"


def test_both_ends_must_allow() -> None:
    found = judge(cluster(DENY, OPEN), WEB, DB)
    assert (found.egress.allowed, found.ingress.allowed, found.allowed) == (False, True, False)


def test_rule_without_peers_and_ports_is_named_alone() -> None:
    found = judge(cluster(policy_object("shop", "all", {"ingress": [{}]})), OTHER, DB)
    assert str(found.ingress) == "allowed by shop/all ingress[0]"


def test_pod_always_reaches_itself() -> None:
    found = judge(cluster(DENY), WEB, ADDRESS[WEB])
    assert found.allowed
    assert str(found.ingress) == "a pod always reaches itself"


def test_policy_that_cannot_be_read_forbids() -> None:
    broken = policy_object("shop", "broken", {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"form": []}, {}]})
    where = cluster(broken)
    assert not judge(where, OTHER, DB).allowed
    assert judge(where, OTHER, WEB).allowed


@pytest.mark.parametrize(("address", "allowed"), [("192.0.2.1", True), ("192.0.2.200", False), ("198.51.100.1", False)])
def test_address_outside_is_met_by_address_blocks(address: str, allowed: bool) -> None:
    assert judge(cluster(OPEN), IPv4Address(address), DB).allowed is allowed


def test_network_is_judged_as_one_or_refused() -> None:
    where = cluster(OPEN)
    assert judge(where, IPv4Network("192.0.2.0/26"), DB).allowed
    assert not judge(where, IPv4Network("192.0.2.192/26"), DB).allowed
    assert not judge(where, IPv4Network("198.51.100.0/24"), DB).allowed
    for partly in ("192.0.2.0/24", "192.0.0.0/16"):
        with pytest.raises(InvalidInput, match="partly"):
            judge(where, IPv4Network(partly), DB)


def test_address_of_a_pod_stands_for_the_pod() -> None:
    where = cluster(DENY, OPEN)
    assert judge(where, ADDRESS[OTHER], IPv4Network("10.0.0.2/32")) == judge(where, OTHER, DB)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pod_neither_sends_nor_receives(phase: str) -> None:
    where = cluster(pods=[pod(WEB, phase=phase), pod(DB), pod(OTHER)])
    assert judge(where, WEB, DB).egress.reason is Reason.GONE
    assert judge(where, DB, WEB).ingress.reason is Reason.GONE
    assert not judge(where, WEB, WEB).allowed


def test_finished_pod_is_no_peer_but_its_address_is_met_by_blocks() -> None:
    where = cluster(OPEN, pods=[pod(WEB), pod(DB), pod(OTHER, phase="Failed")])
    assert not judge(where, OTHER, DB).ingress.allowed


@pytest.mark.parametrize("phase", ["", "Pending", "Running", "Unknown"])
def test_pod_that_is_being_deleted_stays_until_its_endpoint_goes(phase: str) -> None:
    where = cluster(OPEN, pods=[pod(WEB), pod(DB), pod(OTHER, phase=phase, deleting=True)])
    assert judge(where, OTHER, DB).allowed


@pytest.mark.parametrize(
    ("pod_uid", "endpoint_uid", "joined"), [("u", "u", True), ("u", "", True), ("", "u", True), ("u", "v", False)]
)
def test_pod_and_endpoint_are_joined_by_uid_when_both_have_one(pod_uid: str, endpoint_uid: str, joined: bool) -> None:
    where = cluster(pods=[pod(WEB, uid=pod_uid), pod(DB)], endpoints=[endpoint(WEB, uid=endpoint_uid), endpoint(DB)])
    assert judge(where, WEB, DB).allowed is joined


def test_endpoint_without_a_pod_neither_sends_nor_receives() -> None:
    found = judge(cluster(pods=[pod(DB)]), ADDRESS[WEB], DB)
    assert found.egress.reason is Reason.GONE


def test_anonymous_endpoint_is_isolated_by_nothing_and_met_by_address_blocks_only() -> None:
    anonymous = Endpoint("_", "_", "c", (IPv4Address("192.0.2.7"),), "n1", "romx")
    where = cluster(OPEN, DENY, policy_object("_", "deny", {}), endpoints=[endpoint(DB), anonymous])
    assert judge(where, IPv4Address("192.0.2.7"), DB).allowed
    assert judge(where, IPv4Address("198.51.100.7"), IPv4Address("192.0.2.7")).allowed


def test_pod_on_its_nodes_network_is_asked_for_by_the_nodes_address() -> None:
    where = cluster(pods=[pod(WEB, host_network=True), pod(DB)], endpoints=[endpoint(DB)])
    with pytest.raises(InvalidInput, match="node's address"):
        judge(where, WEB, DB)


@pytest.mark.parametrize(("name", "words"), [(WEB, "no address yet"), (ObjectName("shop", "no"), "does not exist")])
def test_pod_without_an_address_is_refused(name: ObjectName, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        judge(cluster(endpoints=[endpoint(DB)]), name, DB)


def test_parties_without_a_family_in_common_are_refused() -> None:
    with pytest.raises(InvalidInput, match="family"):
        judge(cluster(), WEB, IPv6Address("fd00::1"))


def test_dual_stack_pods_meet_in_ipv4_and_addresses_ask_for_ipv6() -> None:
    six = IPv6Address("fd00::1")
    only4 = policy_object("shop", "four", {"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]})
    where = cluster(only4, endpoints=[endpoint(OTHER, IPv6Address("fd00::2"), ADDRESS[OTHER]), endpoint(DB, six, ADDRESS[DB])])
    assert judge(where, OTHER, DB).allowed
    assert not judge(where, OTHER, six).allowed


def test_other_protocols_pass_only_rules_without_ports() -> None:
    where = cluster(OPEN)
    assert verdict(where, IPv4Address("192.0.2.1"), DB, None, None).allowed
    assert not verdict(where, OTHER, DB, None, None).allowed
    with pytest.raises(InvalidInput, match="both or neither"):
        verdict(where, OTHER, DB, 1, None)


def test_pod_of_a_namespace_that_is_not_known_is_selected_by_no_namespace_selector() -> None:
    stranger = ObjectName("new", "web")
    where = cluster(OPEN, pods=[pod(stranger), pod(DB)], endpoints=[endpoint(stranger, IPv4Address("10.0.0.9")), endpoint(DB)])
    assert not judge(where, stranger, DB).allowed


@pytest.mark.parametrize("to", [[{"namespaceSelector": {}}], [{"ipBlock": {"cidr": "10.0.0.0/8"}}], []])
def test_name_of_a_port_means_what_the_receiving_pod_calls_so(to: Any) -> None:
    named = policy_object("shop", "named", {"policyTypes": ["Egress"], "egress": [{"to": to, "ports": [{"port": "sql"}]}]})
    where = cluster(named, pods=[pod(WEB, 1), pod(DB, 2), pod(OTHER, 3)])
    allowed = {(name, port) for name in (DB, OTHER) for port in (1, 2, 3) if judge(where, WEB, name, port).allowed}
    assert allowed == {(DB, 2), (OTHER, 3)}
    assert not judge(where, WEB, IPv4Address("10.9.9.9"), 1).allowed


def test_endpoint_that_a_former_pod_of_the_name_left_is_not_the_new_pods() -> None:
    left = Endpoint(*WEB, "old", (IPv4Address("10.0.0.9"),), "n1", "romold", "u1")
    where = cluster(pods=[pod(WEB, uid="u2"), pod(DB)], endpoints=[endpoint(WEB, uid="u2"), left, endpoint(DB)])
    assert judge(where, ADDRESS[WEB], DB).allowed
    assert judge(where, IPv4Address("10.0.0.9"), DB).egress.reason is Reason.GONE
