"""The eight faults that the order of ROMANA-FORWARD answers, with packets; each also without its rule, so that the test can fail.

docs/adr/0005-policy-in-the-kernel.md lists them. A rule is taken out behind the data plane's back, after its last apply.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from policyd.compiled import Direction, Group, Protocol
from tests.kernel.policy_flows import TcpFlow, UdpFlow, forge_icmp_error, forge_udp, forget_connections
from tests.kernel.policy_node import WORLD, Node, isolating, new_node

pytestmark = pytest.mark.kernel

PORT = 5000
CLIENT_PORT = 40_000
VIP = "10.96.0.1"
SERVICE = "-t nat -A PREROUTING -d {vip} -p udp --dport 53 -j DNAT --to-destination {pod}:{port}"
HAIRPIN = "-t nat -A POSTROUTING -s {pod} -d {pod} -j MASQUERADE"

both = pytest.mark.parametrize("complete", [True, False], ids=["with its rule", "without"])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with new_node(tmp_path, "a", "b", "c") as made:
        yield made


def ingress(*peers: tuple[IPv4Address, Protocol, int]) -> Group:
    return isolating(1, Direction.INGRESS, *peers)


def guard_b(node: Node, group: Group, *others: Group, a: str | None = None, c: str | None = None) -> None:
    """All three pods, b in the group for what comes in, a and c in theirs for what goes out."""
    node.apply([node["a"].pod(egress=a), node["b"].pod(ingress=group.id), node["c"].pod(egress=c)], group, *others)


def rule(node: Node, words: str) -> str:
    """The one rule of ROMANA-FORWARD with these words."""
    (found,) = [line for line in node.saved() if line.startswith("-A ROMANA-FORWARD ") and words in line]
    return found.removeprefix("-A ROMANA-FORWARD ")


def drop_rule(node: Node, words: str) -> None:
    node.iptables(f"-D ROMANA-FORWARD {rule(node, words)}")


@both
def test_fault_1_stale_icmp_error_does_not_stamp_the_flow_that_it_is_about(node: Node, complete: bool) -> None:
    a, b = node["a"], node["b"]
    guard_b(node, ingress((a.ipv4, Protocol.UDP, PORT)))
    with UdpFlow(a, b, PORT) as flow:
        flow.establish()
        guard_b(node, ingress())
        assert flow.request(3) == 0
        if not complete:
            drop_rule(node, "--ctstate RELATED -j DROP")
        forge_icmp_error(b, str(a.ipv4), (str(a.ipv4), CLIENT_PORT), (str(b.ipv4), PORT))
        assert flow.request(10) == (0 if complete else 10)


@both
def test_fault_2_isolated_pod_cannot_speak_in_another_pods_live_flow(node: Node, complete: bool) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    silent = isolating(2, Direction.EGRESS)
    guard_b(node, ingress((a.ipv4, Protocol.UDP, PORT)), silent, c=silent.id)
    with UdpFlow(a, b, PORT) as flow:
        flow.establish()
        if not complete:
            send_check = rule(node, "src,src")
            node.iptables(f"-D ROMANA-FORWARD {send_check}")
            node.iptables(f"-I ROMANA-FORWARD 2 {send_check}")
        forge_udp(c, (str(a.ipv4), CLIENT_PORT), (str(b.ipv4), PORT), times=10)
        assert flow.arrived() == (0 if complete else 10)
        assert flow.request(10) == 10


@both
def test_fault_3_pod_that_is_not_in_the_gate_receives_nothing(node: Node, complete: bool) -> None:
    node.apply([node["a"].pod(), node["b"].pod()])
    if not complete:
        drop_rule(node, "dst,dst")
    with UdpFlow(node.world, node["c"], PORT) as flow:
        assert flow.request(10) == (0 if complete else 10)


@both
def test_fault_4_hairpin_by_a_service_survives_a_bump_when_only_the_server_speaks(node: Node, complete: bool) -> None:
    a = node["a"]
    closed, silent = isolating(3, Direction.INGRESS), isolating(4, Direction.EGRESS)
    pods = [a.pod(closed.id, silent.id), node["b"].pod(), node["c"].pod()]
    node.iptables(SERVICE.format(vip=VIP, pod=a.ipv4, port=PORT))
    node.iptables(HAIRPIN.format(pod=a.ipv4))
    node.apply(pods, closed, silent)
    with UdpFlow(a, a, PORT) as flow:
        seen = flow.request_by_service(VIP, 53)
        assert flow.answer(3, seen) == 3
        assert node.apply(pods[:2], closed, silent).bumped  # c goes while its veth stays
        if not complete:
            node.iptables("-D ROMANA-NO 1")
        assert flow.answer(10, seen) == (10 if complete else 0)


@pytest.mark.parametrize(("policy", "passes"), [("DROP", 0), ("ACCEPT", 5)])
def test_fault_5_traffic_that_is_not_of_our_pods_is_neither_let_through_nor_dropped(node: Node, policy: str, passes: int) -> None:
    other = node.add_pod("other")
    node.rename(other, "docker1")
    node.iptables(f"-P FORWARD {policy}")
    node.apply([node["a"].pod(), node["b"].pod()])
    with UdpFlow(node.world, other, PORT) as foreign, UdpFlow(node.world, node["a"], PORT, CLIENT_PORT + 1) as ours:
        assert foreign.request(5) == passes
        assert ours.request(5) == 5


def test_fault_5_rules_of_others_behind_ours_still_act_on_pods(node: Node) -> None:
    """As kube-proxy's REJECT for a service without endpoints, or its loadBalancerSourceRanges, do."""
    a, b = node["a"], node["b"]
    node.iptables("-N KUBE-FORWARD")
    node.iptables("-A FORWARD -j KUBE-FORWARD")
    node.iptables("-A KUBE-FORWARD -p udp --dport 53 -j REJECT")
    node.apply([a.pod(), b.pod()])
    with UdpFlow(a, b, 53) as refused, UdpFlow(a, b, PORT, CLIENT_PORT + 1) as passed:
        assert refused.request(5) == 0
        assert passed.request(5) == 5


@both
def test_fault_6_old_flow_does_not_enter_the_new_pod_of_its_address(node: Node, complete: bool) -> None:
    a, group = node["a"], ingress((WORLD, Protocol.UDP, PORT))
    node.apply([a.pod(group.id)], group)
    with UdpFlow(node.world, a, PORT) as flow:
        flow.establish()
        before = rule(node, "connmark")
        node.remove_pod("a")
        node.apply([])
        heir = node.add_pod("heir", a.ipv4)
        strict = isolating(7, Direction.INGRESS)
        assert node.apply([heir.pod(strict.id)], strict).bumped
        if not complete:
            node.iptables(f"-R ROMANA-FORWARD 2 {before}")
        flow.server = heir
        with UdpFlow(heir, heir, PORT, CLIENT_PORT + 1) as there:
            flow.request(10)
            assert there.arrived() == (0 if complete else 10)


@both
def test_fault_7_lost_connection_is_not_picked_up_the_wrong_way_round(node: Node, complete: bool) -> None:
    a, b = node["a"], node["b"]
    guard_b(node, ingress((a.ipv4, Protocol.TCP, PORT)))
    with TcpFlow(a, b, PORT) as flow:
        assert flow.request()
        assert flow.answer()
        guard_b(node, ingress())
        forget_connections(node)
        if not complete:
            drop_rule(node, "--tcp-flags")
        assert flow.answer() is not complete


def test_fault_8_tcp_flow_that_never_pauses_is_cut_because_sets_shrink_before_the_bump(node: Node) -> None:
    a, b = node["a"], node["b"]
    guard_b(node, ingress((a.ipv4, Protocol.TCP, PORT), (a.ipv4, Protocol.TCP, PORT + 1)))
    with TcpFlow(a, b, PORT) as forbidden, TcpFlow(a, b, PORT + 1) as allowed:
        assert forbidden.answer()
        assert allowed.answer()
        guard_b(node, ingress((a.ipv4, Protocol.TCP, PORT + 1)))
        assert not forbidden.answer()
        assert not forbidden.request()
        assert allowed.answer()
        assert allowed.request()
