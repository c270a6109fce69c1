"""The kernel's routing table, by netlink: reads the routes of our table, and carries out a plan on those of our protocol.

IPv4 keeps several routes with equal destination, metric and TOS and uses the first. So ours are put first (NLM_F_CREATE alone,
"prepend"), never in the place of what is there (NLM_F_REPLACE takes the first, whoever's it is), and deleted by protocol: no
foreign route can be hit, not even one that came after we looked. In IPv6 nothing can be put before a route of equal metric, so
ours have the best metric there is, and a foreign one with that very metric is a conflict that a person must solve.

pyroute2 writes some 3,500 routes a second: enough for blocks that come and go; filling an empty table with 20,000 takes seconds.
"""

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from romana.errors import FatalError, Unavailable
from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.dump import dump
from routed.model import Add, Delete, Installed, Op, Problem, Replace, Slot
from routed.observed import Observed, observed_in
from routed.plan import installed
from routed.request import ADD, PREPEND, REPLACE, delete_route, put_route
from routed.text import op_text, route_text
from routed.wire import KernelRoute

__all__ = ["Kernel"]

GONE = frozenset({errno.ESRCH, errno.ENOENT})


class Kernel:
    """One netlink socket, opened when it is needed and opened anew after an error of the socket itself."""

    def __init__(self, table: int) -> None:
        self._table = table
        self._ipr: AsyncIPRoute | None = None

    @property
    def port(self) -> int:
        """Netlink port that our changes come from; 0 (the kernel's own) while there is no socket."""
        return 0 if self._ipr is None else int(self._ipr.epid)

    async def observe(self) -> Observed:
        """All routes of our table, both families."""
        async with self._socket("reading the routes") as ipr:
            return observed_in([found async for found in self._dump(ipr, AF_INET, AF_INET6)])

    async def apply(self, plan: Sequence[Op]) -> tuple[Problem, ...]:
        """Carry out all that can be; the problems are the operations that the kernel refused."""
        problems: list[Problem] = []
        blocked: list[Installed] = []
        async with self._socket("writing routes") as ipr:
            beside = await self._beside(ipr, plan)
            for op in plan:
                if isinstance(op, Replace) and op.old.slot in beside:
                    blocked.append(installed(op.route))
                    continue
                try:
                    await self._carry_out(ipr, op)
                except NetlinkError as err:
                    if err.code == errno.EEXIST and isinstance(op, Add):
                        blocked.append(installed(op.route))
                    else:
                        problems.append(_refused(op, err))
            there = await self._in_place_of(ipr, blocked)
        conflicts = (_conflict(route, there.get(route.slot)) for route in blocked)
        return (*problems, *(problem for problem in conflicts if problem is not None))

    async def close(self) -> None:
        """Close the socket; the routes stay."""
        if self._ipr is not None:
            self._ipr.close()
            self._ipr = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @asynccontextmanager
    async def _socket(self, doing: str) -> AsyncIterator[AsyncIPRoute]:
        try:
            if self._ipr is None:
                self._ipr = AsyncIPRoute(ext_ack=True, strict_check=True)
                await self._ipr.bind(groups=0)
            yield self._ipr
        except (OSError, NetlinkError) as err:
            await self.close()
            raise Unavailable(f"{doing} of table {self._table} by netlink failed: {err}") from err
        except BaseException:
            await self.close()  # cancelled in the middle of an answer: the rest of it must not meet the next question
            raise

    async def _dump(self, ipr: AsyncIPRoute, *families: int) -> AsyncIterator[KernelRoute]:
        for family in families:
            async for found in dump(ipr, family, self._table):
                if found.table == self._table:
                    yield found

    async def _beside(self, ipr: AsyncIPRoute, plan: Sequence[Op]) -> frozenset[Slot]:
        """Where a foreign IPv6 route stands beside one of ours that is to be replaced: NLM_F_REPLACE might hit that one."""
        replaced = [op.old for op in plan if isinstance(op, Replace) and op.old.destination.version == 6]
        there = await self._in_place_of(ipr, replaced)
        return frozenset(slot for slot, found in there.items() if found.protocol != ROUTE_PROTOCOL_ROUTED)

    async def _in_place_of(self, ipr: AsyncIPRoute, routes: Sequence[Installed]) -> dict[Slot, KernelRoute]:
        """What stands where these should be, both families; a foreign one if there is any."""
        there: dict[Slot, KernelRoute] = {}
        if not routes:
            return there
        wanted = {route.slot for route in routes}
        async for found in self._dump(ipr, AF_INET, AF_INET6):
            slot = found.route.slot
            if slot in wanted and (slot not in there or found.protocol != ROUTE_PROTOCOL_ROUTED):
                there[slot] = found
        return there

    async def _carry_out(self, ipr: AsyncIPRoute, op: Op) -> None:
        match op:
            case Add(route) if route.destination.version == 4:
                await self._prepend(ipr, installed(route))
            case Add(route):
                await put_route(ipr, self._table, installed(route), ADD)
            case Replace(route, old) if route.destination.version == 4:
                await self._put_before(ipr, installed(route), old)
            case Replace(route):
                await put_route(ipr, self._table, installed(route), REPLACE)
            case Delete(old):
                await self._delete(ipr, old)

    async def _put_before(self, ipr: AsyncIPRoute, new: Installed, old: Installed) -> None:
        """Make the new one first, and take the old one away after that, so that no packet finds none.

        The other way round where a delete of the old one would hit the new one. The old one then is the same route behind a
        foreign one, which had all packets before and keeps them for these microseconds; or somebody altered a route of ours (a
        second next hop, another source address), and for some 0.3 ms there is none.
        """
        if old.type == new.type and old.next_hop in (None, new.next_hop):
            await self._delete(ipr, old)
            await self._prepend(ipr, new)
        else:
            await self._prepend(ipr, new)
            await self._delete(ipr, old)

    async def _prepend(self, ipr: AsyncIPRoute, route: Installed) -> None:
        """Content with EEXIST: the very same is there. If it has been shadowed meanwhile, that event brings the next sync."""
        try:
            await put_route(ipr, self._table, route, PREPEND)
        except NetlinkError as err:
            if err.code != errno.EEXIST:
                raise

    async def _delete(self, ipr: AsyncIPRoute, route: Installed) -> None:
        """Content when it is gone."""
        try:
            await delete_route(ipr, self._table, route)
        except NetlinkError as err:
            if err.code not in GONE:
                raise


def _refused(op: Op, err: NetlinkError) -> Problem:
    if err.code in (errno.EPERM, errno.EACCES):
        raise FatalError(f"the kernel lets us change no routes ({err}): CAP_NET_ADMIN is missing") from err
    code = errno.errorcode.get(err.code, str(err.code))
    return Problem("route-apply-failed", f"{op_text(op)}: {err.args[1]} ({code})")


def _conflict(ours: Installed, found: KernelRoute | None) -> Problem | None:
    if found is not None and (found.route, found.protocol) == (ours, ROUTE_PROTOCOL_ROUTED):
        return None  # ours, and right: the dump that the plan rests on had missed it
    theirs = route_text(found.route, found.protocol) if found else "one that is gone again"
    return Problem("route-conflict", f"a foreign route is in the place of {route_text(ours)} and stays: {theirs}")
