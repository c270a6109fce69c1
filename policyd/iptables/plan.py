"""What to do so that the kernel's rules and sets of one family become the rendered ones, in safe order. Pure.

    close (gate) -> grow sets -> commit rules -> shrink sets -> bump the epoch -> open (gate)

In this order nothing that is allowed is lost and nothing that is forbidden gets in: new rules find their sets filled, old rules
keep theirs as long as they are there, and connections are judged anew only when the narrower rules are in force.
"""

from dataclasses import dataclass, field

from policyd.ipset.model import IpSet, Member
from policyd.ipset.reading import Difference, difference
from policyd.iptables.change import RuleChange
from policyd.iptables.frame import broken_frame
from policyd.iptables.narrowing import narrows, reuses
from policyd.iptables.observed import Observed
from policyd.iptables.render import RuleSet

__all__ = ["Plan", "SetChange", "plan_family"]


@dataclass(frozen=True, slots=True)
class SetChange:
    """A set, and members to make it with, to put in or to take out."""

    set: IpSet
    members: frozenset[Member]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps for one family, in the order in which they must be carried out."""

    close: frozenset[Member] = frozenset()
    create: tuple[SetChange, ...] = ()
    replace: tuple[SetChange, ...] = ()
    grow: tuple[SetChange, ...] = ()
    rules: RuleChange = field(default_factory=RuleChange)
    shrink: tuple[SetChange, ...] = ()
    destroy: tuple[str, ...] = ()
    bump: bool = False
    open: frozenset[Member] = frozenset()

    def __bool__(self) -> bool:
        """True when there is anything to do."""
        sets = self.close or self.create or self.replace or self.grow or self.shrink or self.destroy or self.open
        return bool(sets or self.rules or self.bump)


def plan_family(desired: RuleSet, observed: Observed) -> Plan:
    """The steps from what is there to what should be; empty when there are none."""
    gate, wanted = observed.members(desired.gate.name), desired.gate.members()
    found = {name: _compared(one, observed) for name, one in desired.sets.items() if name in observed.sets}
    changes = [(desired.sets[name], change) for name, change in found.items() if change is not None]
    replace = [SetChange(desired.sets[name], desired.sets[name].members()) for name, change in found.items() if change is None]
    create = [SetChange(one, one.members()) for name, one in desired.sets.items() if name not in observed.sets]
    if desired.gate.name not in observed.sets:
        create.append(SetChange(desired.gate, frozenset()))
    elif _compared(desired.gate, observed) is None:
        replace.append(SetChange(desired.gate, frozenset()))
        gate = frozenset()
    shrink = tuple(SetChange(one, change.less) for one, change in changes if change.less)
    close, opened = gate - wanted, wanted - gate
    rules = _rules(desired, observed)
    return Plan(
        close=close,
        create=tuple(create),
        replace=tuple(replace),
        grow=tuple(SetChange(one, change.more) for one, change in changes if change.more),
        rules=rules,
        shrink=shrink,
        destroy=tuple(sorted(name for name in observed.sets if name not in desired.sets and name != desired.gate.name)),
        bump=bool(shrink or replace) or narrows(desired, observed, rules) or reuses(close, opened, observed),
        open=opened,
    )


def _compared(wanted: IpSet, observed: Observed) -> Difference | None:
    present = observed.sets[wanted.name]
    return None if present is None else difference(wanted, present)


def _rules(desired: RuleSet, observed: Observed) -> RuleChange:
    changed = {name: rules for name, rules in desired.chains.items() if observed.chains.get(name) != tuple(map(str, rules))}
    return RuleChange(
        changed, tuple(name for name in observed.chains if name not in desired.chains), broken_frame(observed.forward)
    )
