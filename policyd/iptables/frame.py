"""Our four rules in FORWARD: are they right, and do others' rules there spoil something. Pure."""

from collections.abc import Iterable

from policyd.iptables.blob import ForwardRule
from policyd.iptables.change import Frame
from policyd.iptables.render import ACCEPTS, JUMPS
from policyd.iptables.rule import Rule

__all__ = ["broken_frame", "warnings"]


def broken_frame(forward: tuple[ForwardRule, ...]) -> Frame | None:
    """What to set right in FORWARD; None when it leads to us as it should."""
    present = tuple(sum(_is(rule, ours) for rule in forward) for ours in (*JUMPS, *ACCEPTS))
    first = len(forward) >= len(JUMPS) and all(map(_is, forward, JUMPS))
    return None if first and set(present) == {1} else Frame(present)


def _is(found: ForwardRule, ours: Rule) -> bool:
    return found.plain and (found.in_interface, found.out_interface, found.target) == (
        ours.in_interface,
        ours.out_interface,
        ours.target.name,
    )


def warnings(forward: Iterable[ForwardRule]) -> tuple[str, ...]:
    """What in FORWARD keeps us or others from having the effect that the operator may expect."""
    said = []
    behind = False
    for number, rule in enumerate(forward, 1):
        everything = rule.plain and not rule.in_interface and not rule.out_interface
        if everything and rule.target in {"DROP", "REJECT"} and not behind:
            said.append(f"rule {number} of FORWARD ({rule.target} of everything) stops all traffic of pods")
        if behind and not _is(rule, ACCEPTS[1]):
            said.append(f"rule {number} of FORWARD ({rule.target}) stands behind our ACCEPTs and never meets traffic of pods")
        behind = behind or _is(rule, ACCEPTS[0])
    return tuple(said)
