"""A change of one family's filter table, and the words for it that iptables-restore takes. Pure.

Source: man 8 iptables-restore (--noflush). A line `:CHAIN - [0:0]` makes a user's chain or empties it; FORWARD is never named so,
as that would set its policy. All of one change is committed at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from policyd.iptables.names import is_our_chain
from policyd.iptables.render import ACCEPTS, JUMPS
from policyd.iptables.rule import Chains, Rule

__all__ = ["Frame", "RuleChange", "restore_text", "saved_chains"]

_APPENDED = re.compile(r"(?:\[\d+:\d+\] )?-A (\S+) (.*)")


@dataclass(frozen=True, slots=True)
class Frame:
    """Our four rules in FORWARD are to be set anew: how often each is there now, in the order of JUMPS and ACCEPTS."""

    present: tuple[int, ...]

    def removed(self) -> Iterator[Rule]:
        """Every rule to delete, once for each time that it is there."""
        for rule, times in zip((*JUMPS, *ACCEPTS), self.present, strict=True):
            yield from [rule] * times


@dataclass(frozen=True, slots=True)
class RuleChange:
    """Chains to write whole, chains of ours to delete, and whether FORWARD must lead to them again."""

    chains: Chains = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    frame: Frame | None = None

    def __bool__(self) -> bool:
        """True when there is anything to do."""
        return bool(self.chains or self.delete or self.frame)

    @property
    def size(self) -> int:
        """How many rules and chains it writes."""
        return len(self.delete) + sum(1 + len(rules) for rules in self.chains.values())


def restore_text(change: RuleChange) -> str:
    """The change as the input of `iptables-restore --noflush`."""
    return "\n".join(["*filter", *_lines(change), "COMMIT", ""])


def saved_chains(text: str) -> Mapping[str, tuple[str, ...]]:
    """Our chains in the output of `iptables-save -t filter`, each rule without `-A` and the chain."""
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":") and is_our_chain(name := line[1:].split(" ", 1)[0]):
            chains[name] = []
        elif (found := _APPENDED.fullmatch(line)) and found[1] in chains:
            chains[found[1]].append(found[2])
    return {name: tuple(rules) for name, rules in chains.items()}


def _lines(change: RuleChange) -> Iterator[str]:
    for name in (*change.chains, *change.delete):
        yield f":{name} - [0:0]"
    if change.frame is not None:
        yield from (f"-D FORWARD {rule}" for rule in change.frame.removed())
        yield from _numbered(JUMPS)
        yield from (f"-A FORWARD {rule}" for rule in ACCEPTS)
    for name, rules in change.chains.items():
        yield from (f"-A {name} {rule}" for rule in rules)
    yield from (f"-X {name}" for name in change.delete)


def _numbered(rules: Sequence[Rule]) -> Iterator[str]:
    return (f"-I FORWARD {number} {rule}" for number, rule in enumerate(rules, 1))
