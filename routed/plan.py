"""What to change in the kernel to get from what is there to what should be. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from routed.model import Add, Delete, Installed, Op, Replace, Route, Slot

__all__ = ["RTN_UNICAST", "RTN_UNREACHABLE", "installed", "plan_routes"]

RTN_UNICAST = 1  # linux/rtnetlink.h
RTN_UNREACHABLE = 7

# The best metric of each family, so that no foreign route with another one wins. An IPv4 route made without a metric has it too.
# An IPv6 one does not (1024, IP6_RT_PRIO_USER in linux/ipv6_route.h): `ip -6 route replace` of somebody else misses ours.
IPV4_METRIC, IPV6_METRIC = 0, 1
LAST_METRIC = 2**32 - 1


def installed(route: Route) -> Installed:
    """How the kernel shows this route once it is in."""
    kind = RTN_UNREACHABLE if route.next_hop is None else RTN_UNICAST
    return Installed(route.destination, route.next_hop, _metric(route), type=kind)


def plan_routes(desired: Iterable[Route], observed: Iterable[Installed]) -> tuple[Op, ...]:
    """Operations in the order that loses no packet: more specific routes first, and deletes last.

    `observed` are the routes of our protocol in our table; others are never planned for. A route that changes is replaced, and
    so is a right one behind a foreign one: by itself, in front. Where a deleted route covered new ones, they are there first.
    """
    at = _by_slot(observed)
    puts: list[Op] = []
    deletes: list[Op] = []
    for route in desired:
        wanted = installed(route)
        there = at.pop(wanted.slot, [])
        if there == [wanted]:
            continue
        if not there:
            puts.append(Add(route))
        elif wanted not in there:
            old = _replaced(wanted, there)
            puts.append(Replace(route, old))
            there.remove(old)
        deletes += [Delete(old) for old in there if not _same(old, wanted)]
    deletes += [Delete(old) for left in at.values() for old in left]
    return (*sorted(puts, key=_order), *sorted(deletes, key=_order))


def _metric(route: Route) -> int:
    """An own block of one address is no wider than its pod's route: unreachable must come after that."""
    if route.next_hop is None and route.destination.prefixlen == route.destination.max_prefixlen:
        return LAST_METRIC
    return IPV4_METRIC if route.destination.version == 4 else IPV6_METRIC


def _replaced(wanted: Installed, there: list[Installed]) -> Installed:
    """Which one goes: the right one if it is only shadowed (the kernel keeps no two that are equal), else the first."""
    return next((old for old in there if _same(old, wanted)), there[0])


def _same(old: Installed, wanted: Installed) -> bool:
    return replace(old, shadowed=False) == wanted


def _by_slot(observed: Iterable[Installed]) -> dict[Slot, list[Installed]]:
    """By slot, in the kernel's order.

    Seen twice is there once: a dump of IPv6 routes that others change meanwhile may repeat some (inet6_dump_fib,
    net/ipv6/ip6_fib.c), and a delete of the second sight would take the right route away.
    """
    at: defaultdict[Slot, list[Installed]] = defaultdict(list)
    for old in dict.fromkeys(observed):
        at[old.slot].append(old)
    return at


def _order(op: Op) -> tuple[int, int, int]:
    network = op.old.destination if isinstance(op, Delete) else op.route.destination
    return -network.prefixlen, network.version, int(network.network_address)
