"""One sync of routed: state → compute → observe → plan → apply → report."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from romana.errors import Unavailable
from romana.reconcile import Report
from routed.desired import desired_routes
from routed.model import Add, Delete, Installed, Op, Problem, Replace
from routed.plan import plan_routes
from routed.state import State

__all__ = ["Router", "Table"]


class Table(Protocol):
    """The kernel's routes of our protocol: the real one is `routed.kernel.Kernel`."""

    async def observe(self) -> tuple[Installed, ...]:
        """All of them."""

    async def apply(self, plan: Sequence[Op]) -> tuple[Problem, ...]:
        """Carry out what can be; what cannot is told."""


class Router:
    """Brings the kernel to what the state asks for, and reports how far it came."""

    def __init__(self, node: str, state: State, table: Table, report: Callable[[Report], None]) -> None:
        self._node = node
        self._state = state
        self._table = table
        self._report = report
        self._applied: Mapping[str, int] = {}

    async def plan(self) -> tuple[Op, ...]:
        """What a sync would do now."""
        return (await self._planned())[0]

    async def sync(self) -> Mapping[str, object]:
        """One pass. Raises Unavailable when the kernel refused a part of it; the rest is done all the same.

        The receipt's revisions move only when nothing was refused: until then not every event is in the kernel.
        """
        plan, applied, problems = await self._planned()
        refused = await self._table.apply(plan)
        if not refused:
            self._applied = applied
        self._report(Report(self._applied, tuple((problem.id, problem.text) for problem in (*refused, *problems))))
        if refused:
            raise Unavailable(f"{len(refused)} of {len(plan)} route changes were refused: {refused[0].text}")
        return {**_counts(plan), "problems": [problem.text for problem in problems[:5]], "revisions": applied}

    async def _planned(self) -> tuple[tuple[Op, ...], Mapping[str, int], tuple[Problem, ...]]:
        view = self._state.view()
        desired = desired_routes(self._node, view.nodes, view.blocks)
        observed = await self._table.observe()
        return plan_routes(desired.routes, observed), view.applied, view.problems + desired.problems


def _counts(plan: Iterable[Op]) -> dict[str, int]:
    found = Counter(type(op) for op in plan)
    return {"added": found[Add], "replaced": found[Replace], "deleted": found[Delete]}
