"""A routing table in memory that behaves as the kernel's does for routed: exclusive adds, replacement in place, exact deletes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from romana.errors import Unavailable
from routed.model import Add, Delete, Installed, Network, Op, Problem, Replace
from routed.plan import installed

__all__ = ["FakeTable"]


class FakeTable:
    """Routes of ours in `routes`, in the kernel's order; destinations of others' routes in `foreign`."""

    def __init__(self, routes: Iterable[Installed] = (), foreign: Iterable[Network] = ()) -> None:
        self.routes = list(routes)
        self.foreign = set(foreign)
        self.plans: list[tuple[Op, ...]] = []
        self.broken = False
        """The netlink socket fails, as after ENOBUFS."""
        self._changed = asyncio.Event()

    async def observe(self) -> tuple[Installed, ...]:
        """All routes of ours."""
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("the table is broken")
        return tuple(self.routes)

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
            self.routes.remove(op.old)
            return None
        new = installed(op.route)
        if isinstance(op, Add) and new in self.routes:
            return None  # the real one finds its own route in its place, and is content
        there = [index for index, old in enumerate(self.routes) if _slot(old) == _slot(new)]
        if isinstance(op, Add) and (there or new.destination in self.foreign):
            return Problem("route-conflict", f"{new.destination} exists")
        if isinstance(op, Replace) and there:
            self.routes[there[0]] = new
        else:
            self.routes.append(new)
        return None

    def interfere(self, routes: Iterable[Installed] = ()) -> None:
        """Somebody else leaves these of our routes, and the kernel says that something changed."""
        self.routes = list(routes)
        self._changed.set()

    async def events(self) -> AsyncIterator[None]:
        """Yields once at the start and after each `interfere`."""
        yield
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield


def _slot(route: Installed) -> tuple[Network, int, int]:
    return route.destination, route.metric, route.tos
