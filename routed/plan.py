"""What to change in the kernel to get from what is there to what should be. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from routed.model import Add, Delete, Installed, Network, Op, Replace, Route, metric

__all__ = ["RTN_UNICAST", "RTN_UNREACHABLE", "installed", "plan_routes"]

RTN_UNICAST = 1  # linux/rtnetlink.h
RTN_UNREACHABLE = 7


def installed(route: Route) -> Installed:
    """How the kernel shows this route once it is in."""
    kind = RTN_UNREACHABLE if route.next_hop is None else RTN_UNICAST
    return Installed(route.destination, route.next_hop, metric(route.destination), type=kind)


def plan_routes(desired: Iterable[Route], observed: Iterable[Installed]) -> tuple[Op, ...]:
    """Operations in the order that loses no packet: more specific routes first, and deletes last.

    `observed` are the routes of our protocol in our table; others are never planned for. A route that changes is replaced in one
    step. Where a deleted route covered new ones, they stand before it goes.
    """
    at = _by_slot(observed)
    puts: list[Op] = []
    deletes: list[Op] = []
    for route in desired:
        wanted = installed(route)
        there = at.pop((wanted.destination, wanted.metric, wanted.tos), [])
        if wanted not in there:
            puts.append(Replace(route, there[0]) if there else Add(route))
            there = there[1:]
        deletes += [Delete(old) for old in there if old != wanted]
    deletes += [Delete(old) for left in at.values() for old in left]
    return (*sorted(puts, key=_order), *sorted(deletes, key=_order))


_Slot = tuple[Network, int, int]


def _by_slot(observed: Iterable[Installed]) -> dict[_Slot, list[Installed]]:
    """By what the kernel takes for one and the same route: destination, metric and TOS (fib_find_alias, net/ipv4/fib_trie.c).

    Seen twice is there once: a dump of IPv6 routes that others change meanwhile may repeat some (inet6_dump_fib,
    net/ipv6/ip6_fib.c), and a delete of the second sight would take the right route away.
    """
    at: defaultdict[_Slot, list[Installed]] = defaultdict(list)
    for old in dict.fromkeys(observed):
        at[old.destination, old.metric, old.tos].append(old)
    return at


def _order(op: Op) -> tuple[int, int, int]:
    network = op.old.destination if isinstance(op, Delete) else op.route.destination
    return -network.prefixlen, network.version, int(network.network_address)
