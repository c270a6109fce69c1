"""Policy in this network namespace's kernel by legacy iptables and ipset: observe, plan, apply, verify.

Blocking: the daemon calls it from one worker thread at a time. After an error nothing is taken for granted: what is not known
for certain is read again by the next apply.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from policyd.applied import Applied, Problem
from policyd.compiled import Address, Compiled
from policyd.conntrack import epochs_in_use
from policyd.epoch import EPOCH_MAX, FIRST_EPOCH, epoch_in, free_epoch
from policyd.ipset.kernel import FAMILIES, Sets
from policyd.ipset.model import Family, Member, Station
from policyd.iptables.blob import TableState
from policyd.iptables.change import RuleChange
from policyd.iptables.frame import warnings
from policyd.iptables.observed import Observed
from policyd.iptables.observer import Observer
from policyd.iptables.plan import Plan, plan_family
from policyd.iptables.render import ACCEPTED, RuleSet, render, stamped
from policyd.iptables.rule import Chains
from policyd.iptables.stepping import crossed_groups, stepping_stone
from policyd.iptables.tables import XTABLES_LOCK, LegacyTables
from policyd.nftchains import dropping_chains
from romana.errors import Exhausted

__all__ = ["IptablesDataplane"]


class IptablesDataplane:
    """Make it, and call it, on threads that are in the node's network namespace."""

    def __init__(self, lock: Path = XTABLES_LOCK) -> None:
        self._tables = LegacyTables(lock)
        self._sets = Sets()
        self._sets.require()
        self._observer = Observer(self._tables, self._sets)
        self._epoch: int | None = None
        self._taken: set[int] = set()
        self._used: set[Address] | None = None
        self._bump_due = False
        self._elsewhere: tuple[str, ...] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets; rules and sets stay and go on protecting."""
        self._sets.close()

    @property
    def epoch(self) -> int | None:
        """The epoch in force; None before the first look at the kernel."""
        return self._epoch

    def observe(self) -> Mapping[Family, Observed]:
        """What the kernel holds of ours, per family. Raises Unavailable."""
        observed = self._observer.observe()
        if self._epoch is None:
            self._take_over(observed)
        used = None if self._used is None else frozenset(self._used)
        return {family: replace(found, used=used) for family, found in observed.items()}

    def plan(self, compiled: Compiled) -> Mapping[Family, Plan]:
        """What `apply` would do now, but for the stepping stone that pods may need (policyd.iptables.stepping)."""
        return _plans(self._render(compiled), self.observe())

    def apply(self, compiled: Compiled) -> Applied:
        """Make the kernel enforce this. When it returns, it does; when it raises, call it again: nothing was opened meanwhile."""
        observed = self.observe()
        desired = self._render(compiled)
        plans = _plans(desired, observed)
        crossed = [crossed_groups(desired[family], observed[family], plan) for family, plan in plans.items()]
        if not any(crossed):
            return self._enforce(compiled, desired, plans)
        stone = stepping_stone(compiled, frozenset().union(*crossed), observed.values())
        halfway = self._render(stone)
        first = self._enforce(stone, halfway, _plans(halfway, observed))
        desired = self._render(compiled)
        second = self._enforce(compiled, desired, _plans(desired, self.observe()))
        return replace(second, changed=True, bumped=first.bumped or second.bumped)

    def _enforce(self, compiled: Compiled, desired: Mapping[Family, RuleSet], plans: Mapping[Family, Plan]) -> Applied:
        bump = self._bump_due = self._bump_due or any(plan.bump for plan in plans.values())
        changed = bump or any(plans.values())
        if changed:
            try:
                self._carry_out(desired, plans)
            except BaseException:
                self._observer.forget_sets()
                raise
        if self._elsewhere is None:
            self._elsewhere = dropping_chains()
        rules = sum(len(chain) for family in desired.values() for chain in family.chains.values())
        sets = sum(1 + len(family.sets) for family in desired.values())
        problems = tuple(_problems(compiled, self._observer.made(desired), self._elsewhere))
        return Applied(changed, bump, problems, rules, sets)

    def verify(self, *, full: bool = False) -> tuple[str, ...]:
        """What is not as the last apply left it; then apply again. Without `full` it takes microseconds at any size.

        Every tenth look, and the first after an apply, is at the sets too. A full look reads every rule of ours and every set:
        the others do not see an exchange of rules of equal size, nor of a set's members.
        """
        if full:
            self._elsewhere = None  # the next apply looks again
        return tuple(self._observer.drift(full=full))

    def _render(self, compiled: Compiled) -> Mapping[Family, RuleSet]:
        return {family: render(compiled, family, self._epoch or FIRST_EPOCH) for family in self._observer.families}

    def _carry_out(self, desired: Mapping[Family, RuleSet], plans: Mapping[Family, Plan]) -> None:
        """The steps in the order of policyd.iptables.plan, each for both families."""
        for family, plan in plans.items():
            self._close_gate(desired[family], plan)
        for plan in plans.values():
            self._grow(plan)
        for family, plan in plans.items():
            self._commit(family, plan.rules, desired[family].chains)
        for plan in plans.values():
            self._shrink(plan)
        if self._bump_due:
            self._bump()
        for family, plan in plans.items():
            self._sets.add(desired[family].gate, plan.open)

    def _close_gate(self, desired: RuleSet, plan: Plan) -> None:
        if self._used is not None:
            self._used.update(_addresses(plan.close))
        self._sets.delete(desired.gate, plan.close)

    def _grow(self, plan: Plan) -> None:
        for change in plan.create:
            self._sets.create(change.set, change.members)
        for change in plan.replace:
            self._sets.replace(change.set, change.members)
        for change in plan.grow:
            self._sets.add(change.set, change.members)

    def _shrink(self, plan: Plan) -> None:
        for change in plan.shrink:
            self._sets.delete(change.set, change.members)
        self._sets.destroy(plan.destroy)
        if plan.destroy:
            self._observer.forget_sets(*plan.destroy)

    def _commit(self, family: Family, change: RuleChange, chains: Chains) -> None:
        if change:
            state = self._tables.commit(family, change)
            self._observer.wrote_rules(family, state, {name: tuple(map(str, chains[name])) for name in change.chains})

    def _bump(self) -> None:
        """From here on every connection is judged anew. If this fails half way, the next apply still writes the new epoch."""
        self._epoch = epoch = self._next_epoch(self._epoch or EPOCH_MAX)
        for family in self._observer.families:
            chains = stamped(family, epoch)
            self._commit(family, RuleChange(chains), chains)
        self._used = set()
        self._bump_due = False

    def _take_over(self, observed: Mapping[Family, Observed]) -> None:
        """Go on with the epoch of the rules that are there, and bump it once, as we do not know what our predecessor left undone.

        Without rules, or with two epochs, begin with one that no connection carries.
        """
        found = {epoch for family in observed for epoch in self._stamped(family, observed[family])}
        if len(found) == 1:
            self._epoch = found.pop()
            self._bump_due = True
        else:
            self._epoch = self._next_epoch(EPOCH_MAX, found)
            self._used = set()

    def _stamped(self, family: Family, observed: Observed) -> Iterator[int]:
        if ACCEPTED in observed.chains:
            rules = observed.chains[ACCEPTED]
            for rule in self._tables.stamps(family, ACCEPTED) if rules is None else rules:
                if epoch := epoch_in(rule):
                    yield epoch

    def _next_epoch(self, epoch: int, besides: Iterable[int] = ()) -> int:
        """A number that no connection carries: what is taken is asked once, and again when every number has been used."""
        for look_anew in (not self._taken, True):
            if look_anew:
                self._taken = {*epochs_in_use(), *besides}
            number = free_epoch(epoch, self._taken)
            if number is not None:
                self._taken.add(number)
                return number
        raise Exhausted("connections carry every epoch there is")


def _plans(desired: Mapping[Family, RuleSet], observed: Mapping[Family, Observed]) -> dict[Family, Plan]:
    return {family: plan_family(rules, observed[family]) for family, rules in desired.items()}


def _problems(compiled: Compiled, states: Mapping[Family, TableState], elsewhere: Iterable[str]) -> Iterator[Problem]:
    for chain in elsewhere:
        told = f"nftables' chain {chain} drops what it does not accept, traffic of pods too unless it accepts -i and -o rom+"
        yield Problem("policy-forward-dropped", told)
    for family in FAMILIES:
        if family in states:
            yield from (Problem("policy-forward-rules", f"IPv{family}: {words}") for words in warnings(states[family].forward))
        elif any(address.version == family for pod in compiled.pods for address in pod.addresses):
            yield Problem(
                "policy-family-absent", f"pods have IPv{family} addresses, and there is no legacy filter table for them"
            )


def _addresses(members: Iterable[Member]) -> Iterator[Address]:
    return (member.address for member in members if isinstance(member, Station))
