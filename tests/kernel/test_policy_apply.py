"""What the data plane leaves in the kernel: idempotent, repaired, foreign rules untouched, one size whatever the policies."""

import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from policyd.compiled import Compiled, Direction, Group, Network, PodInterface, PortPeers, Protocol, RangePeers
from policyd.ipset import wire
from policyd.ipset.kernel import Sets
from policyd.ipset.model import IpSet, SetType
from policyd.iptables.render import render
from policyd.iptables.tables import NATIVE_MAX
from romana.netlink.wire import Message
from tests.kernel.policy_node import Node, isolating, new_node

pytestmark = pytest.mark.kernel

V4, V6 = IPv4Network("10.9.0.0/16"), IPv6Network("fd09::/64")
EVERY_KIND = (
    Group("00000000aa", Direction.INGRESS, frozenset({PortPeers(V4, Protocol.TCP, 80), PortPeers(V6, Protocol.SCTP, 80)}),
          frozenset({V4, V6, IPv4Network("0.0.0.0/1")}),
          tuple(RangePeers(protocol, first, last, frozenset({V4, V6})) for protocol in Protocol
                for first, last in ((0, 65535), (0, 80), (7, 7), (1000, 2000), (1024, 65535)))),
    Group("00000000bb", Direction.EGRESS, frozenset({PortPeers(V6, Protocol.UDP, 53)})),
)  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with new_node(tmp_path, "a", "b") as made:
        yield made


def ours(node: Node, family: int) -> dict[str, tuple[str, ...]]:
    chains: dict[str, tuple[str, ...]] = {}
    for line in node.saved(family):
        if line.startswith(":ROMANA-"):
            chains[line[1:].split()[0]] = ()
        elif line.startswith("-A ROMANA-"):
            _, chain, rule = line.split(" ", 2)
            chains[chain] = (*chains[chain], rule)
    return chains


def forward(node: Node) -> list[str]:
    return [line.removeprefix("-A FORWARD ") for line in node.saved() if line.startswith("-A FORWARD ")]


FRAME = ["-i rom+ -j ROMANA-FORWARD", "! -i rom+ -o rom+ -j ROMANA-FORWARD", "-i rom+ -j ACCEPT", "-o rom+ -j ACCEPT"]


@pytest.mark.parametrize("native_max", [0, 1000], ids=["iptables-restore", "python-iptables"])
def test_every_kind_of_rule_reads_back_as_it_was_rendered(node: Node, native_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policyd.iptables.tables.NATIVE_MAX", native_max)
    pods = (node["a"].pod("00000000aa", "00000000bb"), node["b"].pod())
    node.apply(pods, *EVERY_KIND)
    epoch = node.epoch()
    for family in (4, 6):
        rendered = render(Compiled(pods, EVERY_KIND), 4 if family == 4 else 6, epoch)
        assert ours(node, family) == {name: tuple(map(str, rules)) for name, rules in rendered.chains.items()}
    assert forward(node) == FRAME


def test_second_apply_finds_nothing_to_do_and_neither_does_one_after_a_restart_but_the_bump(node: Node) -> None:
    pods = [node["a"].pod("00000000aa", "00000000bb"), node["b"].pod()]
    assert node.apply(pods, *EVERY_KIND).changed
    assert not node.apply(pods, *EVERY_KIND).changed
    epoch = node.epoch()
    node.restart()
    assert not any(node.plan(pods, *EVERY_KIND).values())
    assert node.epoch() == epoch
    assert node.apply(pods, *EVERY_KIND).bumped  # what the predecessor left undone is not known
    assert node.epoch() == epoch + 1
    assert not node.apply(pods, *EVERY_KIND).changed


def test_removing_all_pods_leaves_no_group_of_theirs(node: Node) -> None:
    node.apply([node["a"].pod("00000000aa", "00000000bb")], *EVERY_KIND)
    node.apply([])
    assert not [name for name in ours(node, 4) | ours(node, 6) if "G-" in name or "R-" in name]
    assert set(node.call(headers)) == {"rom-self", "rom-self6"}


def headers() -> dict[str, int]:
    with Sets() as sets:
        return {name: header.entries for name, header in sets.headers().items()}


@pytest.mark.parametrize("flushed", ["-F", "-F ROMANA-FORWARD", "-D FORWARD 1", "-I FORWARD -j ACCEPT", "-D ROMANA-NO 2",
                                     "-I ROMANA-EG -j ACCEPT", "-D FORWARD -o rom+ -j ACCEPT"])  # fmt: skip
def test_what_somebody_else_does_to_our_rules_is_seen_and_repaired(node: Node, flushed: str) -> None:
    pods = [node["a"].pod("00000000aa", "00000000bb"), node["b"].pod()]
    node.apply(pods, *EVERY_KIND)
    before = ours(node, 4)
    node.iptables(flushed)
    assert node.verify()
    assert node.apply(pods, *EVERY_KIND).changed
    assert [rule for rule in forward(node) if rule != "-j ACCEPT"] == FRAME
    assert forward(node)[:2] == FRAME[:2]
    assert {name: len(rules) for name, rules in ours(node, 4).items()} == {name: len(rules) for name, rules in before.items()}
    assert not node.verify(full=True)
    assert not node.apply(pods, *EVERY_KIND).changed


def test_exchange_of_a_rule_by_one_of_equal_size_is_found_by_the_full_look(node: Node) -> None:
    node.apply([node["a"].pod()])
    node.iptables("-R ROMANA-NO 2 -j ACCEPT")
    assert not node.verify()
    assert node.verify(full=True) == ("IPv4 chain ROMANA-NO is not as we left it",)


def test_sets_that_somebody_else_changed_are_repaired(node: Node) -> None:
    pods = [node["a"].pod("00000000aa"), node["b"].pod()]
    node.apply(pods, EVERY_KIND[0])
    wanted = node.call(headers)
    stranger = IPv4Network("203.0.113.0/24")
    port_set = IpSet("rom-ip-00000000aa", SetType.NET_PORT, 4, ())
    node.call(lambda: change_set("rom-in-00000000aa", {stranger}, {V4}))
    node.call(lambda: change_set("rom-self", (), {node["a"].station()}))
    assert node.verify()  # the gate has fewer members
    assert node.verify(full=True)
    node.apply(pods, EVERY_KIND[0])
    node.call(lambda: add_nomatch(port_set))
    assert node.verify()
    assert node.apply(pods, EVERY_KIND[0]).bumped
    assert node.call(headers) == wanted
    assert not node.verify(full=True)


def change_set(name: str, add: object, delete: object) -> None:
    with Sets() as sets:
        kind = {"rom-self": SetType.NET_IFACE}.get(name, SetType.NET)
        found = IpSet(name, kind, 4, ())
        sets.add(found, add)  # type: ignore[arg-type]
        sets.delete(found, delete)  # type: ignore[arg-type]


def add_nomatch(found: IpSet) -> None:
    """A member that denies (man 8 ipset, nomatch): we never make one, and cannot take it for one of ours."""
    with Sets() as sets:
        member = PortPeers(IPv4Network("10.9.9.0/24"), Protocol.TCP, 80)
        (message,) = wire.add(found.name, 4, [member])
        flags = bytes((8, 0, 8, 0x40)) + (4).to_bytes(4)  # IPSET_ATTR_CADT_FLAGS, big-endian; IPSET_FLAG_NOMATCH
        sets._connection.run(grown(message, flags))


def grown(message: Message, extra: bytes) -> Message:
    """The message with another attribute in its only member."""
    payload = bytearray(message.payload + extra)
    container = payload.index(bytes((8, 0x80)), 20) - 2  # IPSET_ATTR_ADT, nested
    for at in (container, container + 4):
        payload[at : at + 2] = (int.from_bytes(payload[at : at + 2], "little") + len(extra)).to_bytes(2, "little")
    return Message(message.what, message.kind, message.flags, bytes(payload))


def test_rules_of_others_are_untouched_and_their_changes_are_no_drift(node: Node) -> None:
    node.iptables("-N KUBE-FORWARD")
    node.iptables("-A FORWARD -m comment --comment kube -j KUBE-FORWARD")
    node.iptables("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP")
    node.iptables("-A INPUT -p tcp --dport 22 -j ACCEPT")
    node.iptables("-P FORWARD DROP")
    foreign = [line for line in node.saved() if not line.startswith("#")]
    node.apply([node["a"].pod("00000000aa"), node["b"].pod()], EVERY_KIND[0])
    kept = [line for line in node.saved() if "rom" not in line.lower() and not line.startswith("#")]
    assert kept == foreign
    node.iptables("-A KUBE-FORWARD -s 192.0.2.1 -j ACCEPT")
    assert not node.verify()
    assert not node.apply([node["a"].pod("00000000aa"), node["b"].pod()], EVERY_KIND[0]).changed


def test_rules_of_others_that_spoil_traffic_of_pods_are_told(node: Node) -> None:
    node.iptables("-A FORWARD -j REJECT")
    told = node.apply([node["a"].pod()]).problems
    assert [problem.message for problem in told] == ["IPv4: rule 3 of FORWARD (REJECT of everything) stops all traffic of pods"]
    node.iptables("-D FORWARD -j REJECT")
    node.iptables("-A FORWARD -s 192.0.2.1 -j DROP")
    told = node.apply([node["a"].pod()]).problems
    assert [problem.message for problem in told] == [
        "IPv4: rule 5 of FORWARD (DROP) stands behind our ACCEPTs and never meets traffic of pods"
    ]


def test_nftables_chain_that_drops_what_it_does_not_accept_is_told(node: Node) -> None:
    """Our ACCEPTs stand in the legacy tables, and a packet passes both."""
    if shutil.which("iptables-nft") is None:
        pytest.skip("no iptables-nft: Debian's package iptables brings it")
    node.run("iptables-nft", "-P", "FORWARD", "DROP")
    (told,) = node.apply([node["a"].pod()]).problems
    assert told.code == "policy-forward-dropped"
    assert "ip filter FORWARD" in told.message
    node.run("iptables-nft", "-P", "FORWARD", "ACCEPT")
    assert not node.verify(full=True)
    assert node.apply([node["a"].pod()]).problems == ()


def test_number_of_rules_and_sets_is_the_same_with_10_and_with_1000_policies(node: Node) -> None:
    """What a packet passes is a part of this, so it is as constant."""
    shapes = []
    for policies in (10, 1000):
        peers: frozenset[Network] = frozenset(IPv4Network((0x0A090000 + number, 32)) for number in range(policies))
        ports = frozenset(PortPeers(peer, Protocol.TCP, 80) for peer in peers)
        group = Group("00000000cc", Direction.INGRESS, ports, peers)
        node.apply([node["a"].pod(group.id), node["b"].pod()], group)
        shapes.append(({name: len(rules) for name, rules in ours(node, 4).items()}, set(node.call(headers))))
    assert shapes[0] == shapes[1]


def test_large_node_is_written_by_the_program_and_reads_back(node: Node) -> None:
    pods, groups = [], []
    for number in range(120):
        groups.append(isolating(number, Direction.INGRESS, IPv4Address("10.9.0.1")))
        pods.append(PodInterface(f"rom{number * 0x9E3779B1 % 2**48:012x}", (IPv4Address("10.40.200.0") + number,), groups[-1].id))
    node.apply(pods, *groups)
    assert sum(map(len, ours(node, 4).values())) > NATIVE_MAX
    assert not node.apply(pods, *groups).changed
    node.restart()
    assert not any(node.plan(pods, *groups).values())


def test_nothing_of_another_writer_under_the_lock_is_lost(node: Node) -> None:
    script = "for n in $(seq 60); do iptables-legacy --wait -A FOREIGN -s 192.0.2.$n -j RETURN || exit 1; done"
    node.iptables("-N FOREIGN")
    command = ["nsenter", f"--net=/run/netns/{node.netns}", "env", f"XTABLES_LOCKFILE={node.lock}", "sh", "-c", script]
    with subprocess.Popen(command) as writer:
        rounds = 0
        while writer.poll() is None:
            rounds += 1
            node.apply([node["a"].pod("00000000aa" if rounds % 2 else None), node["b"].pod()], *EVERY_KIND[: rounds % 2])
        assert writer.returncode == 0
    assert rounds > 1
    assert sum(line.startswith("-A FOREIGN") for line in node.saved()) == 60
    assert not node.verify(full=True)
