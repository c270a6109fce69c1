"""The plan from what the kernel holds to what it should: complete, empty the second time, a bump whenever something narrows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyd.compiled import Compiled, Direction, Group, PodInterface, PortPeers, Protocol, RangePeers
from policyd.ipset.model import IpSet, Member
from policyd.ipset.reading import ReadSet
from policyd.iptables.blob import ForwardRule
from policyd.iptables.frame import broken_frame, warnings
from policyd.iptables.observed import Observed
from policyd.iptables.plan import Plan, SetChange, plan_family
from policyd.iptables.render import ACCEPTS, JUMPS, RuleSet, render
from policyd.iptables.rule import Rule

NETS = [IPv4Network(f"10.9.{number}.0/24") for number in range(4)]
INTERFACES = [f"rom{number:012x}" for number in range(12)]
ADDRESSES = [IPv4Address("10.40.0.2") + number for number in range(12)]


def seen(rule: Rule) -> ForwardRule:
    return ForwardRule(rule.in_interface, rule.out_interface, True, rule.target.name)


FRAME = tuple(map(seen, (*JUMPS, *ACCEPTS)))


def carried_out(plan: Plan, before: Observed, desired: RuleSet) -> Observed:
    """What a kernel that does as it is told holds after the plan."""
    chains = {name: rules for name, rules in before.chains.items() if name not in plan.rules.delete}
    chains |= {name: tuple(map(str, rules)) for name, rules in plan.rules.chains.items()}
    sets = {name: before.members(name) for name in before.sets}
    for change in (*plan.create, *plan.replace):
        sets[change.set.name] = change.members
    for change in plan.grow:
        sets[change.set.name] |= change.members
    for change in plan.shrink:
        sets[change.set.name] -= change.members
    sets[desired.gate.name] = sets[desired.gate.name] - plan.close | plan.open
    shapes = {found.name: found for found in (desired.gate, *desired.sets.values())}
    kept = {name: replace(shapes[name], content=members) for name, members in sets.items() if name not in plan.destroy}
    return replace(before, chains=chains, sets=kept, forward=FRAME)


def drawn(seed: int) -> Compiled:
    """A model of a few pods and groups; by a seed, as drawing every peer by itself is too slow."""
    draw = random.Random(seed)  # noqa: S311 - the seed decides
    groups = tuple(drawn_group(draw, number) for number in range(4))
    ingress, egress = [None, groups[0].id, groups[1].id], [None, groups[2].id, groups[3].id]
    chosen = draw.sample(range(len(INTERFACES)), draw.randrange(len(INTERFACES)))
    return Compiled(
        tuple(PodInterface(INTERFACES[n], (ADDRESSES[n],), draw.choice(ingress), draw.choice(egress)) for n in chosen), groups
    )


def drawn_group(draw: random.Random, number: int) -> Group:
    some = [frozenset(draw.sample(NETS, draw.randrange(len(NETS) + 1))) for _ in range(4)]
    ranges = tuple(RangePeers(Protocol.TCP, 0, last, some[n]) for n, last in enumerate((80, 443)) if draw.random() < 0.7)
    peers = frozenset(PortPeers(net, Protocol.UDP, 53) for net in some[2])
    return Group(f"{number:010x}", Direction.INGRESS if number < 2 else Direction.EGRESS, peers, frozenset(some[3]), ranges)


models = st.integers(0, 2**64).map(drawn)


@given(models, models)
def test_plan_carried_out_is_what_was_wanted_and_the_second_plan_is_empty(first: Compiled, second: Compiled) -> None:
    kernel = Observed()
    for model in (first, second):
        desired = render(model, 4, 1)
        kernel = carried_out(plan_family(desired, kernel), kernel, desired)
        assert kernel.chains == {name: tuple(map(str, rules)) for name, rules in desired.chains.items()}
        assert {name: kernel.members(name) for name in kernel.sets} == {
            found.name: found.members() for found in (desired.gate, *desired.sets.values())
        }
        assert not plan_family(desired, kernel)


@given(models, models)
def test_no_bump_means_that_nothing_became_forbidden(first: Compiled, second: Compiled) -> None:
    before = render(first, 4, 1)
    kernel = carried_out(plan_family(before, Observed()), Observed(), before)
    kernel = replace(kernel, interfaces=frozenset(pod.interface for pod in first.pods))
    if not plan_family(render(second, 4, 1), kernel).bump:
        for direction in Direction:
            for pod in first.pods:
                assert allowed(first, pod, direction) <= allowed(second, pod, direction)


EVERYTHING = frozenset({"everything"})


def allowed(model: Compiled, pod: PodInterface, direction: Direction) -> frozenset[object]:
    """What a pod may do, as a set that only grows when it may do more."""
    now = next((found for found in model.pods if found.interface == pod.interface), None)
    every = (*((net, None) for net in NETS), *((net, 53) for net in NETS), *((net, last) for net in NETS for last in (80, 443)))
    if now is None:
        return frozenset()
    name = now.ingress if direction is Direction.INGRESS else now.egress
    if name is None:
        return EVERYTHING | frozenset(every)
    group = next(group for group in model.groups if group.id == name)
    with_port = {(found.peer, 53) for found in group.port_peers} | {
        (net, ports.last) for ports in group.ranges for net in ports.peers
    }
    return frozenset(with_port | {(net, None) for net in group.peers})


A, B = PodInterface(INTERFACES[0], (ADDRESSES[0],)), PodInterface(INTERFACES[1], (ADDRESSES[1],))
IN, OTHER = "00000000aa", "00000000ab"
WIDE, NARROW = frozenset(NETS), frozenset(NETS[:1])
RANGE = (RangePeers(Protocol.TCP, 1, 2, WIDE),)


def model(pods: Sequence[PodInterface], peers: frozenset[IPv4Network] = WIDE, ranges: tuple[RangePeers, ...] = ()) -> Compiled:
    groups = (Group(IN, Direction.INGRESS, peers=frozenset(peers), ranges=ranges), Group(OTHER, Direction.INGRESS))
    used = {pod.ingress for pod in pods}
    return Compiled(tuple(pods), tuple(group for group in groups if group.id in used))


def isolated(pod: PodInterface, group: str | None = IN) -> PodInterface:
    return replace(pod, ingress=group)


@pytest.mark.parametrize(
    ("before", "after", "bumps"),
    [
        (model([A]), model([A]), False),
        (model([isolated(A)], NARROW), model([isolated(A)]), False),
        (model([isolated(A)]), model([isolated(A)], NARROW), True),
        (model([isolated(A)]), model([A]), False),
        (model([A]), model([isolated(A)]), True),
        (model([isolated(A)]), model([isolated(A, OTHER)]), True),
        (model([isolated(A)]), model([isolated(A)], ranges=RANGE), False),
        (model([isolated(A)], ranges=RANGE), model([isolated(A)]), True),
        (model([A]), model([A, isolated(B)]), False),
        (model([A, B]), model([A]), False),
    ],
    ids=["same", "peer more", "peer less", "isolated no more", "isolated", "other group",
         "range more", "range less", "pod more", "pod less"],
)  # fmt: skip
def test_bump_follows_what_narrows(before: Compiled, after: Compiled, bumps: bool) -> None:
    first, second = render(before, 4, 1), render(after, 4, 1)
    kernel = carried_out(plan_family(first, Observed()), Observed(), first)
    assert plan_family(second, kernel).bump is bumps


@pytest.mark.parametrize(
    ("changed", "bumps"),
    [
        ({"interfaces": frozenset({B.interface})}, True),  # the gate closes on a veth that stays
        ({"used": frozenset({ADDRESSES[2]})}, True),  # the new pod's address was another's
        ({"used": None}, True),  # it may have been
        ({"used": frozenset({ADDRESSES[5]})}, False),
    ],
)
def test_bump_when_an_address_may_be_used_by_another_than_before(changed: dict[str, object], bumps: bool) -> None:
    first, second = render(model([A, B]), 4, 1), render(model([A, PodInterface(INTERFACES[2], (ADDRESSES[2],))]), 4, 1)
    kernel = carried_out(plan_family(first, Observed()), Observed(), first)
    assert plan_family(second, replace(kernel, **changed)).bump is bumps  # type: ignore[arg-type]


def test_address_that_goes_from_one_pod_to_another_at_once_bumps() -> None:
    first, second = render(model([A, B]), 4, 1), render(model([A, PodInterface(INTERFACES[2], (ADDRESSES[1],))]), 4, 1)
    kernel = carried_out(plan_family(first, Observed()), Observed(), first)
    plan = plan_family(second, kernel)
    assert (len(plan.close), len(plan.open), plan.bump) == (1, 1, True)


def test_new_pod_enters_the_gate_by_no_other_step_than_the_last() -> None:
    plan = plan_family(render(model([A, isolated(B)]), 4, 1), Observed())
    assert {change.set.name: len(change.members) for change in plan.create}["rom-self"] == 0
    assert len(plan.open) == 2


def test_chain_and_set_that_somebody_changed_are_made_anew_and_connections_judged_anew() -> None:
    desired = render(model([isolated(A)]), 4, 1)
    kernel = carried_out(plan_family(desired, Observed()), Observed(), desired)
    chains: dict[str, tuple[str, ...] | None] = {**kernel.chains, "ROMANA-NO": None}
    sets: dict[str, IpSet | ReadSet | None] = {**kernel.sets, f"rom-in-{IN}": None}
    plan = plan_family(desired, replace(kernel, chains=chains))
    assert (set(plan.rules.chains), plan.bump) == ({"ROMANA-NO"}, True)
    plan = plan_family(desired, replace(kernel, sets=sets))
    assert ([change.set.name for change in plan.replace], plan.bump) == ([f"rom-in-{IN}"], True)


def test_gate_that_somebody_changed_is_emptied_and_opened_again_last() -> None:
    desired = render(model([A]), 4, 1)
    kernel = carried_out(plan_family(desired, Observed()), Observed(), desired)
    plan = plan_family(desired, replace(kernel, sets={**kernel.sets, "rom-self": None}))
    nothing: frozenset[Member] = frozenset()
    assert (plan.replace, len(plan.open)) == ((SetChange(desired.gate, nothing),), 1)


REJECT = ForwardRule("", "", True, "REJECT")
SOME = ForwardRule("eth0", "", False, "DROP")


@pytest.mark.parametrize(
    ("forward", "present"),
    [
        (FRAME, None),
        ((*FRAME[:2], SOME, *FRAME[2:]), None),
        ((*FRAME, SOME), None),
        ((), (0, 0, 0, 0)),
        ((SOME, *FRAME), (1, 1, 1, 1)),
        ((*FRAME, FRAME[3]), (1, 1, 1, 2)),
        ((FRAME[1], FRAME[0], *FRAME[2:]), (1, 1, 1, 1)),
        (FRAME[:3], (1, 1, 1, 0)),
        ((replace(FRAME[0], plain=False), *FRAME[1:]), (0, 1, 1, 1)),
    ],
)
def test_frame_is_right_when_we_come_first_and_each_rule_is_there_once(
    forward: tuple[ForwardRule, ...], present: tuple[int, ...] | None
) -> None:
    found = broken_frame(forward)
    assert (found.present if found else None) == present


def test_rules_that_spoil_traffic_of_pods_are_told_and_no_others() -> None:
    assert warnings((*FRAME[:2], SOME, *FRAME[2:])) == ()
    assert len(warnings((*FRAME[:2], REJECT, *FRAME[2:]))) == 1
    assert len(warnings((*FRAME, SOME, REJECT))) == 2
