"""The kernel's routing table, by netlink: reads the routes of our protocol in our table, and carries out a plan.

pyroute2 writes some 3,500 routes a second: enough for blocks that come and go; filling an empty table with 20,000 takes seconds.
"""

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Any, Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from romana.errors import FatalError, Unavailable
from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.dump import dump
from routed.model import Add, Delete, Installed, Network, Op, Problem, Replace
from routed.plan import installed
from routed.text import op_text, route_text
from routed.wire import KernelRoute

__all__ = ["Kernel"]

RT_SCOPE_NOWHERE = 255  # in a delete: any scope (fib_table_delete(), net/ipv4/fib_trie.c)
GONE = frozenset({errno.ESRCH, errno.ENOENT})


_Place = tuple[Network, int]


class Kernel:
    """One netlink socket, opened when it is needed and opened anew after an error of the socket itself."""

    def __init__(self, table: int) -> None:
        self._table = table
        self._ipr: AsyncIPRoute | None = None

    @property
    def port(self) -> int:
        """Netlink port that our changes come from; 0 (the kernel's own) while there is no socket."""
        return 0 if self._ipr is None else int(self._ipr.epid)

    async def observe(self) -> tuple[Installed, ...]:
        """All routes of our protocol in our table, both families."""
        async with self._socket("reading the routes") as ipr:
            return tuple([found.route async for found in self._dump(ipr, ROUTE_PROTOCOL_ROUTED)])

    async def apply(self, plan: Sequence[Op]) -> tuple[Problem, ...]:
        """Carry out all that can be; the problems are the operations that the kernel refused."""
        problems: list[Problem] = []
        blocked: list[Installed] = []
        async with self._socket("writing routes") as ipr:
            for op in plan:
                try:
                    await self._carry_out(ipr, op)
                except NetlinkError as err:
                    if err.code == errno.EEXIST and isinstance(op, Add):
                        blocked.append(installed(op.route))
                    elif not (err.code in GONE and isinstance(op, Delete)):
                        problems.append(_refused(op, err))
            foreign = await self._in_place_of(ipr, blocked)
        conflicts = (_conflict(route, foreign.get(_place(route))) for route in blocked)
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

    async def _dump(self, ipr: AsyncIPRoute, protocol: int = 0) -> AsyncIterator[KernelRoute]:
        for family in (AF_INET, AF_INET6):
            async for found in dump(ipr, family, self._table, protocol):
                if found.table == self._table and protocol in (0, found.protocol):
                    yield found

    async def _in_place_of(self, ipr: AsyncIPRoute, routes: Sequence[Installed]) -> dict[_Place, KernelRoute]:
        """Whose routes are where these should be."""
        if not routes:
            return {}
        wanted = {_place(route) for route in routes}
        return {_place(found.route): found async for found in self._dump(ipr) if _place(found.route) in wanted}

    async def _carry_out(self, ipr: AsyncIPRoute, op: Op) -> None:
        match op:
            case Add(route):
                await ipr.route("add", **self._arguments(installed(route)))  # NLM_F_CREATE | NLM_F_EXCL
            case Replace(route):
                await ipr.route("replace", **self._arguments(installed(route)))  # NLM_F_CREATE | NLM_F_REPLACE
            case Delete(old):
                await ipr.route("del", **self._arguments(old), scope=RT_SCOPE_NOWHERE)

    def _arguments(self, route: Installed) -> dict[str, Any]:
        given: dict[str, Any] = {
            "dst": str(route.destination),
            "family": AF_INET if route.destination.version == 4 else AF_INET6,
            "table": self._table,
            "proto": ROUTE_PROTOCOL_ROUTED,
            "type": route.type,
            "tos": route.tos,
            "priority": route.metric,
        }
        return given if route.next_hop is None else {**given, "gateway": str(route.next_hop)}


def _place(route: Installed) -> _Place:
    return route.destination, route.metric


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
