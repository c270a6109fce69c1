"""What a dump of everybody's routes says about ours, and about foreign ones in their place. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.model import Installed, Problem, Route, Slot
from routed.plan import installed
from routed.text import route_text
from routed.wire import KernelRoute

__all__ = ["Observed", "foreign_notes", "observed_in"]


@dataclass(frozen=True, slots=True)
class Observed:
    """All routes of our table, in the kernel's order."""

    routes: tuple[Installed, ...]
    """Ours: those of our protocol."""
    foreign: tuple[KernelRoute, ...] = ()
    """Everybody else's."""


def observed_in(dump: Iterable[KernelRoute]) -> Observed:
    """Sorted by whose they are, and ours marked where a foreign one shadows them.

    IPv4 keeps several routes in a slot and uses the first; a dump lists them in that order (fn_trie_dump_leaf,
    net/ipv4/fib_trie.c). In IPv6 none is marked: no route can be put before one that is there (fib6_add_rt2node,
    net/ipv6/ip6_fib.c).
    """
    ours: list[Installed] = []
    foreign: list[KernelRoute] = []
    taken: set[Slot] = set()
    for found in dump:
        if found.protocol == ROUTE_PROTOCOL_ROUTED:
            ours.append(replace(found.route, shadowed=True) if found.route.slot in taken else found.route)
            continue
        foreign.append(found)
        if found.route.destination.version == 4:
            taken.add(found.route.slot)
    return Observed(tuple(ours), tuple(foreign))


def foreign_notes(desired: Iterable[Route], foreign: Iterable[KernelRoute]) -> tuple[Problem, ...]:
    """One for each foreign IPv4 route in the slot of a wanted one: it stays, and ours stands before it after this sync.

    Notes, not failures: ours is the one in effect. An operator should know all the same: somebody else means to route a block.
    """
    candidates = [found for found in foreign if found.route.destination.version == 4]
    if not candidates:
        return ()
    wanted = {route.slot: route for route in map(installed, desired)}
    return tuple(_note(found, wanted[found.route.slot]) for found in candidates if found.route.slot in wanted)


def _note(found: KernelRoute, ours: Installed) -> Problem:
    theirs = route_text(found.route, found.protocol)
    return Problem("foreign-route", f"a foreign route is in the place of {route_text(ours)} and stays, behind ours: {theirs}")
