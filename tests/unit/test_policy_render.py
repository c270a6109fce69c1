"""Rules and sets as they are rendered, held to golden files, and what no rendering may break.

After a wanted change: `ROMANA_GOLDEN=write pytest tests/unit/test_policy_render.py`, and read the difference.
"""

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from policyd.compiled import Compiled, Direction, Group, PodInterface, PortPeers, Protocol, RangePeers
from policyd.epoch import EPOCH_MAX, epoch_in, mark_text
from policyd.ipset.model import Family, IpSet, Station
from policyd.iptables.change import Frame, RuleChange, restore_text, saved_chains
from policyd.iptables.names import ENTRY, is_our_chain
from policyd.iptables.render import TREES, RuleSet, render, stamped
from policyd.iptables.rule import Chains
from romana.errors import InvalidInput

GOLDEN = Path(__file__).parent.parent / "golden"
FAMILIES: tuple[Family, Family] = (4, 6)

A4, A6 = IPv4Address("10.40.0.2"), IPv6Address("fd00:40::2")
B4 = IPv4Address("10.40.0.3")
NEAR, FAR = IPv4Network("10.9.0.0/24"), IPv4Network("192.0.2.0/24")
NEAR6 = IPv6Network("fd09::/64")
HALVES = frozenset({IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")})

INGRESS = Group(
    "00000000aa",
    Direction.INGRESS,
    frozenset({PortPeers(NEAR, Protocol.TCP, 80), PortPeers(NEAR6, Protocol.UDP, 53), PortPeers(FAR, Protocol.SCTP, 9999)}),
    frozenset({FAR, *HALVES}),
    (
        RangePeers(Protocol.TCP, 0, 65535, frozenset({NEAR, NEAR6})),
        RangePeers(Protocol.UDP, 1000, 2000, frozenset({NEAR})),
        RangePeers(Protocol.SCTP, 7, 7, frozenset({NEAR6})),
    ),
)
EGRESS = Group("00000000bb", Direction.EGRESS, frozenset({PortPeers(NEAR6, Protocol.UDP, 53)}))
PODS = (
    PodInterface("rom0000000000aa", (A4, A6), INGRESS.id, EGRESS.id),
    PodInterface("rom0000000000bb", (B4,), None, None),
)
MODEL = Compiled(PODS, (INGRESS, EGRESS))


def text(rules: RuleSet) -> str:
    """Everything of a family, as iptables-restore and a reader take it."""
    sets = [rules.gate, *(rules.sets[name] for name in sorted(rules.sets))]
    listed = [f"# {found.name} {found.type.value}: {', '.join(sorted(map(member, found.members()))) or '-'}" for found in sets]
    return "\n".join([*listed, restore_text(RuleChange(rules.chains, (), Frame((0, 0, 0, 0))))])


def member(found: object) -> str:
    if isinstance(found, Station):
        return f"{found.address},{found.interface}"
    return f"{found.peer},{found.protocol.name.lower()}:{found.port}" if isinstance(found, PortPeers) else str(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_and_sets_are_those_of_the_golden_file(family: Family) -> None:
    golden, found = GOLDEN / f"policy-ipv{family}.rules", text(render(MODEL, family, 7))
    if os.environ.get("ROMANA_GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text()


def test_family_without_addresses_has_the_frame_and_an_empty_gate_only() -> None:
    rules = render(Compiled((PODS[1],)), 6, 1)
    assert rules.gate.members() == frozenset()
    assert not rules.sets
    assert all(rules.chains[root] == () for root, *_ in TREES)


def test_pod_of_one_family_is_in_no_rule_of_the_other() -> None:
    lonely = PodInterface("rom0000000000cc", (B4,), INGRESS.id, None)
    four, six = (render(Compiled((lonely,), (INGRESS,)), family, 1) for family in FAMILIES)
    assert "rom0000000000cc" in text(four)
    assert "rom0000000000cc" not in text(six)
    assert INGRESS.id not in text(six)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_set_holds_members_of_its_own_family_only_and_the_name_tells_it(family: Family) -> None:
    rules = render(MODEL, family, 1)
    for found in (rules.gate, *rules.sets.values()):
        assert found.family == family
        assert found.name.endswith("6") == (family == 6)
    assert rules.sets.keys().isdisjoint(render(MODEL, 6 if family == 4 else 4, 1).sets)


def test_every_chain_that_is_led_to_is_there_and_every_one_there_is_led_to() -> None:
    chains = render(large(300), 4, 1).chains
    led_to = {rule.target.name for rules in chains.values() for rule in rules if is_our_chain(rule.target.name)}
    assert led_to | {ENTRY} == set(chains)


def test_every_set_that_a_rule_asks_is_rendered() -> None:
    rules = render(MODEL, 4, 1)
    asked = {option.split()[-2] for chain in rules.chains.values() for rule in chain for match in rule.matches
             for name, option in match.options if name == "match-set"}  # fmt: skip
    assert {name.lstrip("!") for name in asked} == {rules.gate.name, *rules.sets}


def test_epoch_is_in_the_entry_and_in_the_stamp_and_nowhere_else() -> None:
    before, after = render(MODEL, 4, 1).chains, render(MODEL, 4, 2).chains
    assert {name for name in before if before[name] != after[name]} == set(stamped(4, 1))
    assert [epoch for rules in after.values() for rule in rules if (epoch := epoch_in(str(rule)))] == [2]


@pytest.mark.parametrize("epoch", [0, EPOCH_MAX + 1, -1])
def test_number_that_is_no_epoch_is_refused(epoch: int) -> None:
    with pytest.raises(InvalidInput):
        mark_text(epoch)


@pytest.mark.parametrize(
    ("interface", "group"),
    [
        ("eth0", INGRESS.id),
        ("rom1 -j ACCEPT", INGRESS.id),
        ("rom00000000000001", INGRESS.id),
        ("rom1", "aa -j ACCEPT"),
        ("rom1", "x"),
    ],
)
def test_name_that_would_not_be_one_of_ours_reaches_no_rule(interface: str, group: str) -> None:
    bad = Group(group, Direction.INGRESS)
    with pytest.raises(InvalidInput):
        render(Compiled((PodInterface(interface, (A4,), group),), (bad,)), 4, 1)


def test_names_fit_the_kernel_with_the_longest_of_everything() -> None:
    widest = RangePeers(Protocol.SCTP, 65534, 65535, frozenset({NEAR6}))
    group = Group("ffffffffff", Direction.EGRESS, ranges=(widest,))
    rules = render(Compiled((PodInterface("romffffffffffff", (A6,), None, group.id),), (group,)), 6, 1)
    assert max(map(len, rules.chains)) <= 28  # XT_EXTENSION_MAXNAMELEN less the NUL
    assert max(map(len, rules.sets)) <= 31  # IPSET_MAXNAMELEN less the NUL
    with pytest.raises(InvalidInput):
        IpSet("rom-" + "x" * 28, rules.gate.type, 4, ())


def large(pods: int) -> Compiled:
    """As many pods, each in a group of its own in both directions, with interfaces like hashes."""
    names = [f"rom{number * 0x9E3779B97F4A7C15 % 2**64:016x}"[:15] for number in range(pods)]
    ids = [f"{number:09x}" for number in range(pods)]
    ways = ((Direction.INGRESS, "a"), (Direction.EGRESS, "b"))
    groups = [Group(f"{start}{name}", way, peers=frozenset({NEAR})) for way, start in ways for name in ids]
    placed = (PodInterface(name, (A4 + at,), f"a{ids[at]}", f"b{ids[at]}") for at, name in enumerate(names))
    return Compiled(tuple(placed), tuple(groups))


def walk(chains: Chains, name: str, in_interface: str, out_interface: str) -> Iterator[str]:
    """Every rule that a packet of a new connection is held against, if nothing but the interfaces ever matches."""
    for rule in chains[name]:
        yield str(rule)
        if (
            not rule.matches
            and not rule.protocol
            and fits(rule.in_interface, in_interface)
            and fits(rule.out_interface, out_interface)
        ):
            if rule.target.name in chains:
                yield from walk(chains, rule.target.name, in_interface, out_interface)
            if rule.target.goto or rule.target.name not in chains:
                return


def fits(wanted: str, interface: str) -> bool:
    return not wanted or wanted == interface or (wanted.endswith("+") and interface.startswith(wanted[:-1]))


@pytest.mark.parametrize("pods", [10, 110, 250, 1000])
def test_rules_that_a_packet_meets_stay_bounded_whatever_the_number_of_pods_and_policies(pods: int) -> None:
    compiled = large(pods)
    chains = render(compiled, 4, 1).chains
    interfaces = [pod.interface for pod in compiled.pods[:40]]
    walks = [len(list(walk(chains, start, a, b))) for start in (ENTRY, "ROMANA-RE") for a in interfaces for b in interfaces[:5]]
    assert max(walks) <= 110  # 10 of the entry, twice (3 levels of at most 16 or 8, and a group's 3)


def test_what_iptables_save_prints_reads_back() -> None:
    rules = render(MODEL, 4, 7)
    printed = [
        "# Generated",
        "*filter",
        ":FORWARD ACCEPT [0:0]",
        ":KUBE-FORWARD - [0:0]",
        *(f":{name} - [1:2]" for name in rules.chains),
    ]
    printed += ["-A FORWARD -j KUBE-FORWARD", "-A KUBE-FORWARD -j DROP"]
    printed += [f"-A {name} {rule}" for name, chain in rules.chains.items() for rule in chain]
    assert saved_chains("\n".join(printed)) == {name: tuple(map(str, chain)) for name, chain in rules.chains.items()}
