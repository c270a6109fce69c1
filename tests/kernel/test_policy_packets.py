"""Who reaches whom under compiled models, by packets: both families, TCP, UDP and SCTP, held to a plain reading of the model."""

import random
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from policyd.compiled import Address, Direction, Group, Network, PodInterface, PortPeers, Protocol, RangePeers
from tests.kernel.policy_flows import UdpFlow, forge_udp
from tests.kernel.policy_node import WORLD, Node, isolating, new_node, single
from tests.prober.prober import End, Family, Prober

pytestmark = pytest.mark.kernel

PODS = ("a", "b", "c", "d")
PORTS = (80, 8080)
EVERYTHING: frozenset[Network] = frozenset(
    {IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1"), IPv6Network("::/1"), IPv6Network("8000::/1")}
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with new_node(tmp_path, *PODS) as made:
        yield made


def prober(node: Node) -> Prober:
    ends = {place.name: End(place.fd, place.ipv4, place.ipv6) for place in (*node.pods.values(), node.world)}
    return Prober(ends, patience_s=0.25)


def allows(group: Group | None, peer: Address, protocol: Protocol, port: int) -> bool:
    """The compiled model in plain words (policyd.compiled)."""
    if group is None:
        return True
    nets = {found.peer for found in group.port_peers if (found.protocol, found.port) == (protocol, port)} | group.peers
    for ports in group.ranges:
        if ports.protocol is protocol and ports.first <= port <= ports.last:
            nets |= ports.peers
    return any(peer.version == net.version and peer in net for net in nets)


def expected(
    node: Node, pods: list[PodInterface], groups: list[Group], family: Family, protocol: Protocol, port: int
) -> dict[tuple[str, str], bool]:
    by_id: dict[str | None, Group] = {group.id: group for group in groups}
    models = {place.name: pod for place in node.pods.values() for pod in pods if pod.interface == place.interface}
    places = [*node.pods.values(), node.world]
    address = {place.name: place.ipv4 if family == 4 else place.ipv6 for place in places}

    def passes(source: str, destination: str) -> bool:
        sender, receiver = models.get(source), models.get(destination)
        if (sender is None and source in node.pods) or (receiver is None and destination in node.pods):
            return False  # not in the gate
        out = sender is None or allows(by_id.get(sender.egress), address[destination], protocol, port)
        return out and (receiver is None or allows(by_id.get(receiver.ingress), address[source], protocol, port))

    return {(a, b): passes(a, b) for a in address for b in address if a != b}


def random_group(number: int, direction: Direction, node: Node, draw: random.Random) -> Group:
    addresses: list[Address] = [found for place in (*node.pods.values(), node.world) for found in (place.ipv4, place.ipv6)]
    nets: list[Network] = [*map(single, addresses), *EVERYTHING]
    some = [frozenset(draw.sample(nets, draw.randrange(len(nets) // 2))) for _ in range(6)]
    with_port = frozenset(
        PortPeers(net, protocol, draw.choice(PORTS)) for net, protocol in zip(some[0], [*Protocol] * 9, strict=False)
    )
    ranges = (
        RangePeers(Protocol.TCP, 0, 65535, some[1]),
        RangePeers(Protocol.UDP, 81, 8080, some[2]),
        RangePeers(Protocol.SCTP, 80, 80, some[3]),
    )
    return Group(f"{number:010x}", direction, with_port, some[4] if draw.random() < 0.3 else frozenset(), ranges)


@pytest.mark.parametrize("seed", range(3))
async def test_packets_do_what_the_compiled_model_says(node: Node, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - the same cases each time
    async with prober(node) as probes:
        for _ in range(2):  # the second model finds the first one in the kernel
            groups = [random_group(n, Direction.EGRESS if n % 2 else Direction.INGRESS, node, draw) for n in range(6)]
            ingress, egress = [None, *(g.id for g in groups[::2])], [None, *(g.id for g in groups[1::2])]
            pods = [node[name].pod(draw.choice(ingress), draw.choice(egress)) for name in PODS[: draw.choice([3, 4])]]
            node.apply(pods, *groups)
            for family in (4, 6):
                for protocol in Protocol:
                    for port in PORTS:
                        found = await probes.matrix(protocol.name, port, family=family)  # type: ignore[arg-type]
                        assert found == expected(node, pods, groups, family, protocol, port), (family, protocol, port)


async def test_pod_is_closed_until_its_apply_and_from_the_moment_that_it_is_left_out(node: Node) -> None:
    async with prober(node) as probes:
        node.apply([node["a"].pod()])
        assert not await probes.reaches("a", "b", "TCP", 80)
        assert not await probes.reaches("b", "a", "TCP", 80)
        node.apply([node["a"].pod(), node["b"].pod()])
        assert await probes.reaches("a", "b", "TCP", 80)
        assert await probes.reaches("b", "a", "TCP", 80)
        with UdpFlow(node["a"], node["b"], 5000) as there, UdpFlow(node["b"], node["a"], 5001, 40_001) as back:
            there.establish()
            back.establish()
            node.apply([node["a"].pod()])
            assert (there.request(5), there.answer(5), back.request(5), back.answer(5)) == (0, 0, 0, 0)


def test_pod_cannot_use_another_address_than_its_own(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    group = isolating(1, Direction.INGRESS, (a.ipv4, Protocol.UDP, 5000))
    node.apply([a.pod(), b.pod(group.id), c.pod()], group)
    with UdpFlow(a, b, 5000) as flow:
        forge_udp(c, (str(a.ipv4), 40_000), (str(b.ipv4), 5000), times=5)  # of a pod that may
        forge_udp(c, ("10.40.99.99", 40_000), (str(b.ipv4), 5000), times=5)  # of nobody
        forge_udp(c, (str(WORLD), 40_000), (str(b.ipv4), 5000), times=5)
        assert flow.arrived() == 0
        assert flow.request(5) == 5


def test_node_reaches_its_own_pods_whatever_the_policy(node: Node) -> None:
    closed = isolating(1, Direction.INGRESS)
    node.apply([node["a"].pod(closed.id)], closed)
    with UdpFlow(node.as_place(), node["a"], 5000) as probe:
        assert probe.request(5) == 5


def test_icmp_passes_peers_without_ports_only(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    group = isolating(1, Direction.INGRESS, a.ipv4, (c.ipv4, Protocol.UDP, 5000))
    node.apply([a.pod(), b.pod(group.id), c.pod()], group)
    assert a.pings(b.ipv4)
    assert not c.pings(b.ipv4)
    assert b.pings(c.ipv4)  # an answer needs no permission


def test_service_address_leads_to_the_pod_and_its_policy_counts(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    group = isolating(1, Direction.INGRESS, (a.ipv4, Protocol.UDP, 5000))
    node.iptables(f"-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination {b.ipv4}:5000")
    node.apply([a.pod(), b.pod(group.id), c.pod()], group)
    with UdpFlow(a, b, 5000) as allowed:
        assert allowed.request_by_service("10.96.0.1", 53) == (str(a.ipv4), 40_000)
        assert allowed.answer(3) == 3
    with UdpFlow(c, b, 5000) as forbidden, pytest.raises(TimeoutError):
        forbidden.request_by_service("10.96.0.1", 53)
