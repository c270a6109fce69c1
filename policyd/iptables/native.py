"""Changes of the filter table by python-iptables, in this process: for a few rules, quicker than a program of its own.

python-iptables takes no lock: call this with the xtables lock held (LegacyTables does), as a commit otherwise silently
overwrites what somebody else changes meanwhile. It never reads rules of others: one with an extension
that we lack cannot be read.
"""

from collections.abc import Iterator
from typing import Any

import iptc

from policyd.ipset.model import Family
from policyd.iptables.change import Frame, RuleChange
from policyd.iptables.render import ACCEPTS, JUMPS
from policyd.iptables.rule import Rule
from romana.errors import Unavailable

__all__ = ["commit", "stamps"]


def commit(family: Family, change: RuleChange) -> None:
    """Carry out the change in one commit. Raises Unavailable, and then nothing of it is done."""
    try:
        table = _fresh_table(family)
        _write(table, family, change)
        table.commit()
        table.refresh()
    except (iptc.IPTCError, iptc.xtables.XTablesError, ValueError) as err:  # ValueError: a set that is not there
        raise Unavailable(f"python-iptables cannot change the IPv{family} filter table: {err}") from err


def stamps(family: Family, chain: str) -> Iterator[str]:
    """What the CONNMARK rules of a chain of ours set, as `--set-xmark MARK/MASK`."""
    try:
        table = _fresh_table(family)
        for rule in iptc.Chain(table, chain).rules if table.is_chain(chain) else ():
            if rule.target.name == "CONNMARK":
                yield f"--set-xmark {rule.target.set_xmark}"
    except (iptc.IPTCError, iptc.xtables.XTablesError) as err:
        raise Unavailable(f"python-iptables cannot read chain {chain}: {err}") from err


def _fresh_table(family: Family) -> Any:
    """The table as it is now: the object is a singleton and keeps what it read, so it must be told to forget."""
    table = (iptc.Table if family == 4 else iptc.Table6)(iptc.Table.FILTER, autocommit=False)
    table.refresh()
    return table


def _write(table: Any, family: Family, change: RuleChange) -> None:
    for name in change.chains:
        if table.is_chain(name):
            table.flush_entries(name)
        else:
            table.create_chain(name)
    if change.frame is not None:
        _write_frame(iptc.Chain(table, "FORWARD"), family, change.frame)
    for name, rules in change.chains.items():
        chain = iptc.Chain(table, name)
        for rule in rules:
            chain.append_rule(_native(family, rule))
    for name in change.delete:
        table.flush_entries(name)
    for name in change.delete:
        table.delete_chain(name)


def _write_frame(forward: Any, family: Family, frame: Frame) -> None:
    for rule in frame.removed():
        forward.delete_rule(_native(family, rule))
    for position, rule in enumerate(JUMPS):
        forward.insert_rule(_native(family, rule), position)
    for rule in ACCEPTS:
        forward.append_rule(_native(family, rule))


def _native(family: Family, rule: Rule) -> Any:
    made = iptc.Rule() if family == 4 else iptc.Rule6()
    if rule.protocol:
        made.protocol = rule.protocol
    if rule.in_interface:
        made.in_interface = rule.in_interface
    if rule.out_interface:
        made.out_interface = rule.out_interface
    for match in rule.matches:
        _set_options(made.create_match(match.name), match.options)
    target = iptc.Target(made, rule.target.name, goto=rule.target.goto)
    _set_options(target, rule.target.options)
    made.target = target
    return made


def _set_options(extension: Any, options: tuple[tuple[str, str], ...]) -> None:
    for name, value in options:
        words = ["!", *value[1:].split()] if value.startswith("!") else value.split()
        setattr(extension, name.replace("-", "_"), words)
