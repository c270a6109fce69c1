"""A routing table in memory that behaves as the kernel's does for routed: in IPv4 the first of several in a slot is the one that
counts and new ones go before it; in IPv6 adds are exclusive and replacements in place. Deletes are exact.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from romana.errors import Unavailable
from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.model import Add, Delete, Installed, Op, Problem, Slot
from routed.observed import Observed, observed_in
from routed.plan import installed
from routed.wire import KernelRoute

__all__ = ["FakeTable", "foreign_route"]

TABLE, BOOT = 254, 3


def foreign_route(route: Installed) -> KernelRoute:
    """A route as `ip route` makes it when no protocol is given."""
    return KernelRoute(route, TABLE, BOOT)


class FakeTable:
    """All routes in the kernel's order: of ours, and foreign ones, which stand first at the start."""

    def __init__(self, routes: Iterable[Installed] = (), foreign: Iterable[KernelRoute] = ()) -> None:
        self.entries = [*foreign, *map(_own, routes)]
        self.plans: list[tuple[Op, ...]] = []
        self.broken = False
        """The netlink socket fails, as after ENOBUFS."""
        self._changed = asyncio.Event()

    @property
    def routes(self) -> list[Installed]:
        """Ours, as the kernel has them, shadowed or not."""
        return [entry.route for entry in self.entries if entry.protocol == ROUTE_PROTOCOL_ROUTED]

    @property
    def foreign(self) -> list[KernelRoute]:
        """Everybody else's."""
        return [entry for entry in self.entries if entry.protocol != ROUTE_PROTOCOL_ROUTED]

    def first(self, slot: Slot) -> KernelRoute | None:
        """The route that packets take."""
        return next((entry for entry in self.entries if entry.route.slot == slot), None)

    async def observe(self) -> Observed:
        """All routes."""
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("the table is broken")
        return observed_in(self.entries)

    async def apply(self, plan: Sequence[Op]) -> tuple[Problem, ...]:
        """Carry out a plan as the kernel would, one operation after the other."""
        self.plans.append(tuple(plan))
        problems = []
        for op in plan:
            await asyncio.sleep(0)
            problem = self.carry_out(op)
            if problem is not None:
                problems.append(problem)
        return tuple(problems)

    def carry_out(self, op: Op) -> Problem | None:
        """One operation."""
        if isinstance(op, Delete):
            self._remove(op.old)
            return None
        new = installed(op.route)
        there = [entry for entry in self.entries if entry.route.slot == new.slot]
        if new.destination.version == 6 and (there if isinstance(op, Add) else set(there) & set(self.foreign)):
            return None if _own(new) in there else Problem("route-conflict", f"{new.destination} exists")
        if not isinstance(op, Add):
            self._remove(op.old)
        if _own(new) not in self.entries:
            self.put_first(_own(new))
        return None

    def put_first(self, entry: KernelRoute) -> None:
        """`ip route prepend`."""
        slots = [each.route.slot for each in self.entries]
        self.entries.insert(slots.index(entry.route.slot) if entry.route.slot in slots else len(slots), entry)

    def interfere(self, entries: Iterable[KernelRoute]) -> None:
        """Somebody else leaves these routes, and the kernel says that something changed."""
        self.entries = list(entries)
        self._changed.set()

    async def events(self) -> AsyncIterator[None]:
        """Yields once at the start and after each `interfere`."""
        yield
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield

    def _remove(self, old: Installed) -> None:
        entry = _own(replace(old, shadowed=False))
        if entry in self.entries:
            self.entries.remove(entry)


def _own(route: Installed) -> KernelRoute:
    return KernelRoute(route, TABLE, ROUTE_PROTOCOL_ROUTED)
