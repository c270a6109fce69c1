"""One sync of routed: state → compute → observe → plan → apply → report."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from romana.errors import Unavailable
from romana.reconcile import Report
from routed.counts import RouteCounts
from routed.desired import desired_routes
from routed.model import Add, Delete, Op, Problem, Replace
from routed.observed import Observed, foreign_notes
from routed.plan import plan_routes
from routed.state import State

__all__ = ["Router", "Table"]

log = logging.getLogger(__name__)


class Table(Protocol):
    """The kernel's routes in our table: the real one is `routed.kernel.Kernel`."""

    async def observe(self) -> Observed:
        """All of them."""

    async def apply(self, plan: Sequence[Op]) -> tuple[Problem, ...]:
        """Carry out what can be; what cannot is told."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one sync means to do, and where that leaves the receipt if nothing is refused."""

    plan: tuple[Op, ...]
    applied: Mapping[str, int]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()
    desired: int = 0
    """How many routes there should be."""


class Router:
    """Brings the kernel to what the state asks for, and reports how far it came.

    Somebody who puts a foreign route before ours again and again meets us once per rest of the loop (`Pace.rest_s`) and no
    oftener; nobody wins such a fight, and the receipt names the route.
    """

    def __init__(self, node: str, state: State, table: Table, report: Callable[[Report], None]) -> None:
        self._node = node
        self._state = state
        self._table = table
        self._report = report
        self.counts = RouteCounts()
        self._applied: Mapping[str, int] = {}
        self._warned: tuple[Problem, ...] = ()

    async def plan(self) -> tuple[Op, ...]:
        """What a sync would do now."""
        return (await self._planned()).plan

    async def sync(self) -> Mapping[str, object]:
        """One pass. Raises Unavailable when the kernel refused a part of it; the rest is done all the same.

        The receipt's revisions move only when nothing was refused: until then not every event is in the kernel. A foreign route
        behind ours is a problem in the receipt and holds nothing back: ours is in effect.
        """
        now = await self._planned()
        self._warn(now.notes)
        refused = await self._table.apply(now.plan)
        kinds = [type(op).__name__.lower() for op in now.plan]
        self.counts.synced(kinds, now.desired, len(refused), len(now.notes), is_repair=now.applied == self._applied)
        if not refused:
            self._applied = now.applied
        problems = now.problems + now.notes
        self._report(Report(self._applied, tuple((problem.id, problem.text) for problem in (*refused, *problems))))
        if refused:
            raise Unavailable(f"{len(refused)} of {len(now.plan)} route changes were refused: {refused[0].text}")
        return {**_counts(now.plan), "problems": [problem.text for problem in problems[:5]], "revisions": now.applied}

    async def _planned(self) -> _Pass:
        view = self._state.view()
        desired = desired_routes(self._node, view.nodes, view.blocks)
        if not desired.known:
            return _Pass((), {}, view.problems + desired.problems)
        observed = await self._table.observe()
        plan, notes = plan_routes(desired.routes, observed.routes), foreign_notes(desired.routes, observed.foreign)
        return _Pass(plan, view.applied, view.problems + desired.problems, notes, len(desired.routes))

    def _warn(self, notes: tuple[Problem, ...]) -> None:
        """Say it in the log when it is new, not with every sync."""
        if notes and notes != self._warned:
            log.warning("foreign routes in the place of ours", extra={"routes": [note.text for note in notes[:5]]})
        self._warned = notes


def _counts(plan: Iterable[Op]) -> dict[str, int]:
    found = Counter(type(op) for op in plan)
    return {"added": found[Add], "replaced": found[Replace], "deleted": found[Delete]}
