"""Whether a change may forbid what was allowed, so that connections must be judged anew. Pure.

In doubt it says so: a bump of the epoch costs each connection one look-up, once, and cuts nothing that is still allowed.
"""

import re

from policyd.ipset.model import Member, Station
from policyd.iptables.change import RuleChange
from policyd.iptables.observed import Observed
from policyd.iptables.render import TREES, RuleSet

__all__ = ["narrows", "reuses"]

_PLACED = re.compile(r"-[io] (rom[0-9a-f]+) -g (ROMANA-\S+)")
_BRANCH = re.compile(r"-[io] rom[0-9a-f]*\+ -g ROMANA-\S+")


def narrows(desired: RuleSet, observed: Observed, rules: RuleChange) -> bool:
    """True when the change of rules may forbid what was allowed, or somebody may have allowed what was forbidden."""
    touched = [(name, observed.chains[name]) for name in (*rules.chains, *rules.delete) if name in observed.chains]
    if any(before is None for _, before in touched):
        return True
    lost = [
        name
        for name, before in touched
        if name in rules.chains and not _in_tree(name) and not set(before or ()) <= {str(rule) for rule in rules.chains[name]}
    ]
    return bool(lost) or _moved(desired, observed)


def _moved(desired: RuleSet, observed: Observed) -> bool:
    """True when an interface that was there is led to other rules than before, or when a tree held what is no part of one."""
    before: dict[tuple[str, str], str] = {}
    for name, rules in observed.chains.items():
        if not _in_tree(name):
            continue
        for rule in rules or ():
            if placed := _PLACED.fullmatch(rule):
                before[_root(name), placed[1]] = placed[2]
            elif not _BRANCH.fullmatch(rule):
                return True
    gated = {member.interface for member in observed.members(desired.gate.name) if isinstance(member, Station)}
    for name, chain in desired.chains.items():
        for leaf in chain if _in_tree(name) else ():
            interface = leaf.in_interface or leaf.out_interface
            if interface in gated and before.get((_root(name), interface)) != leaf.target.name:
                return True
    return False


def reuses(close: frozenset[Member], opened: frozenset[Member], observed: Observed) -> bool:
    """True when a connection of an address's former pod could go on: the address has a new pod, or the pod's interface stays."""
    stays = any(isinstance(member, Station) and member.interface in observed.interfaces for member in close)
    gone = {member.address for member in close if isinstance(member, Station)}
    used = None if observed.used is None else observed.used | gone
    again = any(isinstance(member, Station) and (used is None or member.address in used) for member in opened)
    return stays or again


_TREE = re.compile("(" + "|".join(root for root, *_ in TREES) + ")(?:-[0-9a-f]+)?")


def _in_tree(chain: str) -> bool:
    return _TREE.fullmatch(chain) is not None


def _root(chain: str) -> str:
    found = _TREE.fullmatch(chain)
    return found[1] if found else ""
