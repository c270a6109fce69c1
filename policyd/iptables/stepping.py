"""Pods that change group while a set of that group changes: they need a stepping stone. Pure.

    before --(plan)--> stone: the same rules, such groups under other names --(plan)--> after

Sets grow before pods move and shrink after, so a pod that leaves a group would for a moment be open to what the group gains, and
one that joins to what it loses. A group under a new name is made with exactly its members and pods go there at one stroke.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from policyd.compiled import Compiled
from policyd.ipset.model import Station
from policyd.iptables.names import group_of_chain, group_of_set
from policyd.iptables.observed import Observed
from policyd.iptables.placement import places_found, places_wanted
from policyd.iptables.plan import Plan
from policyd.iptables.render import RuleSet

__all__ = ["crossed_groups", "stepping_stone"]


def crossed_groups(desired: RuleSet, observed: Observed, plan: Plan) -> frozenset[str]:
    """Groups that some pod leaves while they grow, or joins while they shrink, with its address in the gate all the time."""
    if not plan.rules.chains or not (plan.grow or plan.shrink or plan.replace):
        return frozenset()
    moves = list(_moves(desired, observed))
    left, joined = {old for old, _ in moves}, {new for _, new in moves}
    grown = {group_of_set(change.set.name) for change in (*plan.grow, *plan.replace)}
    shrunk = {group_of_set(change.set.name) for change in (*plan.shrink, *plan.replace)}
    return frozenset(grown & left | shrunk & joined) - {""}


def stepping_stone(compiled: Compiled, crossed: frozenset[str], observed: Iterable[Observed]) -> Compiled:
    """The same, with other names for these groups: none of a group that is wanted or there."""
    there = {group_of_set(name) for found in observed for name in found.sets}
    names = dict(_names(crossed, there | {group.id for group in compiled.groups}))
    pods = tuple(
        replace(pod, ingress=names.get(pod.ingress or "", pod.ingress), egress=names.get(pod.egress or "", pod.egress))
        for pod in compiled.pods
    )
    return Compiled(pods, tuple(replace(group, id=names.get(group.id, group.id)) for group in compiled.groups))


def _moves(desired: RuleSet, observed: Observed) -> Iterator[tuple[str, str]]:
    """The groups that a pod leaves and joins, "" for none."""
    before, after = places_found(observed.chains) or {}, places_wanted(desired.chains)
    stays = observed.members(desired.gate.name) & desired.gate.members()
    interfaces = {member.interface for member in stays if isinstance(member, Station)}
    for place in before.keys() | after.keys():
        old, new = before.get(place, ""), after.get(place, "")
        if old != new and place[1] in interfaces:
            yield group_of_chain(old), group_of_chain(new)


def _names(crossed: frozenset[str], taken: set[str]) -> Iterator[tuple[str, str]]:
    used = set(taken)
    for name in sorted(crossed):
        free = next(found for turn in range(1, len(used) + 2) if (found := f"{int(name, 16) ^ turn:010x}") not in used)
        used.add(free)
        yield name, free
