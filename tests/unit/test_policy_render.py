"""Rules and sets of a compiled model: golden files, bounded names, a bounded way through the trees, nothing unchecked in a rule.

ROMANA_WRITE_GOLDEN=1 writes the golden files anew; then read the difference.
"""

import os
import random
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from policyd.compiled import Compiled, Direction, Group, PodInterface, PortPeers, Protocol, RangePeers
from policyd.ipset.model import Family, IpSet, Member, SetType, Station
from policyd.iptables.change import Frame, RuleChange, restore_text, saved_chains
from policyd.iptables.render import ACCEPTS, JUMPS, RuleSet, render
from policyd.iptables.rule import Rule
from policyd.iptables.tree import LEAF_MAX, tree
from romana.errors import InvalidInput

FAMILIES: tuple[Family, Family] = (4, 6)
GOLDEN = Path(__file__).parent.parent / "golden"

WEB, ANY, DNS = "00000000aa", "00000000ab", "00000000ac"
MODEL = Compiled(
    (
        PodInterface("rom0123456789ab", (IPv4Address("10.40.0.2"), IPv6Address("fd00:40::2")), ingress=WEB, egress=DNS),
        PodInterface("romfedcba987654", (IPv4Address("10.40.0.3"),), ingress=ANY),
        PodInterface("rom5555aaaa5555", (IPv4Address("10.40.0.4"), IPv6Address("fd00:40::4"))),
    ),
    (
        Group(
            WEB,
            Direction.INGRESS,
            frozenset({PortPeers(IPv4Network("10.40.0.3/32"), Protocol.TCP, 80),
                       PortPeers(IPv6Network("fd00:40::4/128"), Protocol.TCP, 80)}),
            frozenset({IPv4Network("192.0.2.0/24")}),
            (
                RangePeers(Protocol.TCP, 1000, 2000, frozenset({IPv4Network("10.40.0.4/32")})),
                RangePeers(Protocol.UDP, 53, 53, frozenset({IPv6Network("fd00:40::4/128")})),
                RangePeers(Protocol.SCTP, 0, 65535, frozenset({IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")})),
            ),
        ),
        Group(ANY, Direction.INGRESS),
        Group(DNS, Direction.EGRESS, frozenset({PortPeers(IPv4Network("10.40.0.3/32"), Protocol.UDP, 53)})),
    ),
)  # fmt: skip


def text(rules: RuleSet) -> str:
    lines = [f"-A FORWARD {rule}" for rule in (*JUMPS, *ACCEPTS)]
    for name, chain in sorted(rules.chains.items()):
        lines += ["", f":{name}", *(f"-A {name} {rule}" for rule in chain)]
    for found in (rules.gate, *rules.sets.values()):
        lines += ["", f"create {found.name} {found.type.value} family IPv{found.family}"]
        lines += sorted(f"add {found.name} {member_text(member)}" for member in found.members())
    return "\n".join(lines) + "\n"


def member_text(member: Member) -> str:
    if isinstance(member, PortPeers):
        return f"{member.peer},{member.protocol.name.lower()}:{member.port}"
    return f"{member.address},{member.interface}" if isinstance(member, Station) else str(member)


@pytest.mark.parametrize("family", [4, 6])
def test_rules_and_sets_are_the_golden_ones(family: Family) -> None:
    golden = GOLDEN / f"policy_iptables_ipv{family}.txt"
    rendered = text(render(MODEL, family, 7))
    if os.environ.get("ROMANA_WRITE_GOLDEN"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()


def test_names_fit_the_kernel_and_no_two_are_alike() -> None:
    ranges = tuple(
        RangePeers(protocol, first, last, frozenset())
        for protocol in Protocol
        for first, last in ((1, 5), (1, 56), (60000, 65535))
    )
    groups = tuple(
        Group(f"{n:x}" * 10, direction, ranges=ranges) for n, direction in ((14, Direction.INGRESS), (15, Direction.EGRESS))
    )
    pod = PodInterface("rom0123456789ab", (IPv4Address("10.40.0.2"), IPv6Address("fd00::2")), groups[0].id, groups[1].id)
    both = [render(Compiled((pod,), groups), family, 1) for family in FAMILIES]
    assert max(len(name) for rules in both for name in rules.chains) <= 28
    names = [name for rules in both for name in (rules.gate.name, *rules.sets)]
    assert len(names) == len(set(names)) == 2 * (1 + 2 * (2 + len(ranges)))
    assert max(map(len, names)) <= 31


@pytest.mark.parametrize(
    "interface", ["eth0", "rom", "rom+", "rom0123456789abc", "rom1 -j ACCEPT", "rom1\n-A FORWARD", "romXYZ", ""]
)
def test_interface_that_is_not_ours_reaches_no_rule(interface: str) -> None:
    with pytest.raises(InvalidInput):
        render(Compiled((PodInterface(interface, (IPv4Address("10.40.0.2"),)),)), 4, 1)


@pytest.mark.parametrize("group", ["", "aa", "00000000AA", "00000000a;", "00000000a\n", "-j ACCEPT --"])
def test_group_id_that_is_no_hash_reaches_no_rule(group: str) -> None:
    pod = PodInterface("rom0123456789ab", (IPv4Address("10.40.0.2"),), group)
    with pytest.raises(InvalidInput):
        render(Compiled((pod,), (Group(group, Direction.INGRESS),)), 4, 1)


@pytest.mark.parametrize("name", ["self", "rom-", "rom-a b", "rom-" + "a" * 28])
def test_name_that_is_no_sets_of_ours_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        IpSet(name, SetType.NET, 4, ())


@pytest.mark.parametrize("epoch", [0, -1, 65536])
def test_number_that_is_no_epoch_reaches_no_rule(epoch: int) -> None:
    with pytest.raises(InvalidInput):
        render(MODEL, 4, epoch)


@pytest.mark.parametrize("number", [0, 1, LEAF_MAX, LEAF_MAX + 1, 250, 1000])
def test_every_interface_is_found_in_a_bounded_number_of_rules(number: int) -> None:
    draw = random.Random(number)  # noqa: S311 - the same names each time
    places = {f"rom{draw.randrange(2**48):012x}": f"chain-{n}" for n in range(number)}
    chains = tree("ROOT", "in", places)
    ways = {interface: walk(chains, interface) for interface in places}
    assert {interface: way[0] for interface, way in ways.items()} == places
    assert max((way[1] for way in ways.values()), default=0) <= 16 * 2 + LEAF_MAX + 4
    assert walk(chains, "romstranger")[0] == ""


def test_interfaces_that_differ_in_the_last_digit_only_are_told_apart() -> None:
    places = {f"rom00000000000{digit:x}": f"chain-{digit}" for digit in range(16)}
    chains = tree("ROOT", "out", places)
    assert {interface: walk(chains, interface)[0] for interface in places} == places


def walk(chains: dict[str, tuple[Rule, ...]], interface: str) -> tuple[str, int]:
    """Where a packet of the interface gets to, and how many rules it passes."""
    chain, passed = "ROOT", 0
    while chain in chains:
        for rule in chains[chain]:
            passed += 1
            wanted = rule.in_interface or rule.out_interface
            if re.fullmatch(re.escape(wanted.removesuffix("+")) + (".*" if wanted.endswith("+") else ""), interface):
                assert rule.target.goto
                chain = rule.target.name
                break
        else:
            return "", passed
    return chain, passed


def test_restore_text_leaves_the_policy_of_forward_alone() -> None:
    change = RuleChange({"ROMANA-NO": (ACCEPTS[0],)}, ("ROMANA-iG-00000000aa",), Frame((1, 0, 2, 0)))
    assert restore_text(change).splitlines() == [
        "*filter",
        ":ROMANA-NO - [0:0]",
        ":ROMANA-iG-00000000aa - [0:0]",
        "-D FORWARD -i rom+ -j ROMANA-FORWARD",
        "-D FORWARD -i rom+ -j ACCEPT",
        "-D FORWARD -i rom+ -j ACCEPT",
        "-I FORWARD 1 -i rom+ -j ROMANA-FORWARD",
        "-I FORWARD 2 ! -i rom+ -o rom+ -j ROMANA-FORWARD",
        "-A FORWARD -i rom+ -j ACCEPT",
        "-A FORWARD -o rom+ -j ACCEPT",
        "-A ROMANA-NO -i rom+ -j ACCEPT",
        "-X ROMANA-iG-00000000aa",
        "COMMIT",
    ]


def test_saved_chains_are_ours_alone() -> None:
    saved = (
        "*filter\n:FORWARD DROP [1:2]\n:KUBE - [0:0]\n:ROMANA-NO - [3:4]\n-A KUBE -j DROP\n[1:2] -A ROMANA-NO -j DROP\nCOMMIT\n"
    )
    assert saved_chains(saved) == {"ROMANA-NO": ("-j DROP",)}
