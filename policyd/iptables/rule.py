"""A rule as a value, and as iptables-save writes it. Pure. Sources: man 8 iptables, man 8 iptables-extensions.

The text is exactly what iptables-save prints, so that rules read back compare with rules rendered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["ACCEPT", "DROP", "RETURN", "Chains", "Match", "Rule", "Target"]


@dataclass(frozen=True, slots=True)
class Match:
    """One match extension: its name and options, as (name, value), a leading `!` in the value negates."""

    name: str
    options: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """As iptables-save writes it."""
        return f"-m {self.name} " + " ".join(_option(name, value) for name, value in self.options)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rule sends a packet: a verdict, a chain, or an extension with options."""

    name: str
    goto: bool = False
    """Go to the chain and do not come back to this one (man 8 iptables, -g)."""
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As iptables-save writes it."""
        return " ".join([f"-{'g' if self.goto else 'j'} {self.name}", *(_option(name, value) for name, value in self.options)])


@dataclass(frozen=True, slots=True)
class Rule:
    """All of the conditions must hold; a leading `!` negates, a trailing `+` of an interface is any continuation."""

    target: Target
    in_interface: str = ""
    out_interface: str = ""
    protocol: str = ""
    matches: tuple[Match, ...] = ()

    def __str__(self) -> str:
        """As iptables-save writes it, without `-A` and the chain."""
        named = (("-i", self.in_interface), ("-o", self.out_interface), ("-p", self.protocol))
        conditions = [_option(name, value) for name, value in named if value]
        return " ".join([*conditions, *map(str, self.matches), str(self.target)])


Chains: TypeAlias = Mapping[str, tuple[Rule, ...]]

ACCEPT, DROP, RETURN = Target("ACCEPT"), Target("DROP"), Target("RETURN")


def _option(name: str, value: str) -> str:
    dashed = name if name.startswith("-") else f"--{name}"
    return f"! {dashed} {value[1:]}" if value.startswith("!") else f"{dashed} {value}"
