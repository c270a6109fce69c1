"""Every state between two models: no step opens what stays forbidden or stops what stays allowed; what is lost is judged anew."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from policyd.compiled import Address, Compiled, Direction, Group, Network, PodInterface, PortPeers, Protocol, RangePeers
from policyd.ipset.model import Station
from policyd.iptables.names import self_set
from policyd.iptables.observed import Observed
from policyd.iptables.plan import plan_family
from policyd.iptables.render import render
from tests.fakes.policy_rules import EPOCH, Kernel, Packet, applied, asked_sets, enforced, passes, steps

PEERS = [IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")]
NETS = [IPv4Network("10.9.0.1"), IPv4Network("10.9.0.2"), IPv4Network("10.9.0.0/24")]
PODS = {"rom0a": IPv4Address("10.40.0.1"), "rom0b": IPv4Address("10.40.0.2"), "rom1c": IPv4Address("10.40.0.3")}

nets: st.SearchStrategy[frozenset[Network]] = st.frozensets(st.sampled_from(NETS), max_size=2)
port_peers = st.frozensets(
    st.builds(PortPeers, st.sampled_from(NETS), st.sampled_from([Protocol.TCP, Protocol.SCTP]), st.just(80)), max_size=3
)
ranges = st.lists(st.builds(RangePeers, st.just(Protocol.TCP), st.sampled_from([0, 80]), st.sampled_from([81, 65535]), nets),
                  max_size=2, unique_by=lambda found: (found.first, found.last))  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> Compiled:
    """Pods that are there or not, in one of two groups a side or in none; the groups' members are anything."""
    groups = {}
    for direction, start in ((Direction.INGRESS, "a"), (Direction.EGRESS, "b")):
        for number in range(2):
            name = f"{start}{number:09x}"
            groups[name] = Group(name, direction, draw(port_peers), draw(nets), tuple(draw(ranges)))
    ids: dict[str, list[str | None]] = {start: [None, *(name for name in groups if name[0] == start)] for start in "ab"}
    present = draw(st.lists(st.sampled_from(sorted(PODS)), unique=True))
    addresses = dict(zip(PODS, draw(st.permutations(list(PODS.values()))), strict=True)) if draw(st.booleans()) else PODS
    pods = [PodInterface(name, (addresses[name],), *(draw(st.sampled_from(ids[start])) for start in "ab")) for name in present]
    used = {name for pod in pods for name in (pod.ingress, pod.egress)}
    return Compiled(tuple(pods), tuple(group for name, group in groups.items() if name in used))


def questions() -> Iterator[tuple[str, Packet, tuple[str, Address]]]:
    """One side each: what a pod sends to a peer, and what it gets from one; and the pod."""
    for interface, address in PODS.items():
        for peer in PEERS:
            for protocol, port in ((Protocol.TCP, 80), (Protocol.TCP, 443), (Protocol.SCTP, 80)):
                yield "ROMANA-EG", Packet(address, peer, protocol, port, interface, "eth0"), (interface, address)
                yield "ROMANA-IN", Packet(peer, address, protocol, port, "eth0", interface), (interface, address)


def gated(compiled: Compiled) -> set[tuple[str, Address]]:
    return {(pod.interface, address) for pod in compiled.pods for address in pod.addresses}


@given(models(), models())
@settings(max_examples=200)
def test_no_step_opens_what_stays_forbidden_nor_stops_what_stays_allowed(before: Compiled, after: Compiled) -> None:
    kernel = enforced(before)
    way = list(applied(kernel, after))
    stays = gated(before) & gated(after)
    for root, packet, pod in questions():
        ends = {passes(kernel, root, packet), passes(way[-1], root, packet)}
        if pod in stays and len(ends) == 1:
            assert {passes(state, root, packet) for state in way} == ends, (root, packet)


@given(models(), models())
def test_gate_closes_first_and_opens_for_a_pod_only_when_its_rules_are_in_force(before: Compiled, after: Compiled) -> None:
    opened, closed = gated(after) - gated(before), gated(before) - gated(after)
    way = list(applied(enforced(before), after))
    for state in way:
        there = {(one.interface, one.address) for one in state.sets[self_set(4)].members() if isinstance(one, Station)}
        assert not there & closed
        for root, packet, pod in questions():
            if pod in there & opened:
                assert passes(state, root, packet) is passes(way[-1], root, packet)
    assert there >= opened


@given(models(), models())
def test_way_ends_at_what_was_wanted_and_the_next_plan_is_empty(before: Compiled, after: Compiled) -> None:
    *_, end = applied(enforced(before), after)
    wanted = render(after, 4, end.epoch)
    assert end.chains == wanted.chains
    assert {name: found.members() for name, found in end.sets.items()} == {
        found.name: found.members() for found in (wanted.gate, *wanted.sets.values())
    }
    assert not plan_family(wanted, end.observed())


@given(models(), models())
def test_rules_never_name_a_set_that_is_not_there(before: Compiled, after: Compiled) -> None:
    for start in (enforced(before), Kernel({}, {})):
        assert all(asked_sets(state) <= set(state.sets) for state in applied(start, after))


@given(models(), models())
def test_connections_are_judged_anew_whenever_something_allowed_is_forbidden(before: Compiled, after: Compiled) -> None:
    kernel = enforced(before)
    *_, end = applied(kernel, after)
    stays = gated(before) & gated(after)
    lost = [
        packet
        for root, packet, pod in questions()
        if pod in stays and passes(kernel, root, packet) and not passes(end, root, packet)
    ]
    moved = {address for _, address in gated(before) - stays} & {address for _, address in gated(after) - stays}
    assert end.epoch > EPOCH or not (lost or moved)


@given(models())
def test_judging_anew_is_spared_when_groups_only_grow(compiled: Compiled) -> None:
    wider = tuple(replace(group, peers=group.peers | {IPv4Network("10.10.0.0/16")}) for group in compiled.groups)
    plan = plan_family(render(replace(compiled, groups=wider), 4, EPOCH), enforced(compiled).observed())
    assert not plan.bump
    assert not plan.rules
    assert len(plan.grow) == len(compiled.groups)


def test_pod_that_leaves_a_group_as_it_grows_is_not_open_to_what_it_gains() -> None:
    """Without the stepping stone it is, between growing and the commit."""
    one, other = (Group(f"a{number:09x}", Direction.INGRESS) for number in range(2))
    pods = tuple(PodInterface(name, (address,), one.id) for name, address in PODS.items())
    kernel = enforced(Compiled(pods, (one,)))
    grown = replace(one, peers=frozenset({NETS[0]}))
    after = Compiled((replace(pods[0], ingress=other.id), *pods[1:]), (grown, other))
    packet = Packet(PEERS[0], PODS["rom0a"], Protocol.TCP, 80, "eth0", "rom0a")
    desired = render(after, 4, EPOCH)
    plain = steps(kernel, desired, plan_family(desired, kernel.observed()))
    assert any(passes(state, "ROMANA-IN", packet) for state in plain)
    assert not any(passes(state, "ROMANA-IN", packet) for state in applied(kernel, after))


def test_first_apply_of_an_empty_kernel_makes_the_gate_empty_and_opens_it_last() -> None:
    compiled = Compiled((PodInterface("rom0a", (PODS["rom0a"],)),))
    *way, end = applied(Kernel({}, {}), compiled)
    assert all(not state.sets[self_set(4)].members() for state in way)
    assert len(end.sets[self_set(4)].members()) == 1
    assert plan_family(render(compiled, 4, EPOCH), Observed()).rules.frame is not None
