"""Whether a change may forbid what was allowed, so that connections must be judged anew. Pure.

In doubt it says so: a bump of the epoch costs each connection one look-up, once, and cuts nothing that is still allowed.
"""

from policyd.ipset.model import Member, Station
from policyd.iptables.change import RuleChange
from policyd.iptables.observed import Observed
from policyd.iptables.placement import is_tree_chain, places_found, places_wanted
from policyd.iptables.render import RuleSet

__all__ = ["narrows", "reuses"]


def narrows(desired: RuleSet, observed: Observed, rules: RuleChange) -> bool:
    """True when the change of rules may forbid what was allowed, or somebody may have allowed what was forbidden."""
    touched = [(name, observed.chains[name]) for name in (*rules.chains, *rules.delete) if name in observed.chains]
    if any(before is None for _, before in touched):
        return True
    lost = [
        name
        for name, before in touched
        if name in rules.chains
        and not is_tree_chain(name)
        and not set(before or ()) <= {str(rule) for rule in rules.chains[name]}
    ]
    return bool(lost) or _moved(desired, observed)


def _moved(desired: RuleSet, observed: Observed) -> bool:
    """True when an interface that was there is led to other rules than before, or when a tree held what is no part of one."""
    before = places_found(observed.chains)
    gated = {member.interface for member in observed.members(desired.gate.name) if isinstance(member, Station)}
    return before is None or any(
        place[1] in gated and before.get(place) != chain for place, chain in places_wanted(desired.chains).items()
    )


def reuses(close: frozenset[Member], opened: frozenset[Member], observed: Observed) -> bool:
    """True when a connection of an address's former pod could go on: the address has a new pod, or the pod's interface stays."""
    stays = any(isinstance(member, Station) and member.interface in observed.interfaces for member in close)
    gone = {member.address for member in close if isinstance(member, Station)}
    used = None if observed.used is None else observed.used | gone
    again = any(isinstance(member, Station) and (used is None or member.address in used) for member in opened)
    return stays or again
