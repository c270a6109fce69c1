"""One sync of policyd: state -> compile -> kernel -> report, and who waits for it is told."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from policyd.applied import Applied
from policyd.awaiting import Waiting
from policyd.compiled import Compiled
from policyd.compiler import Compiler
from policyd.counts import PolicyCounts
from policyd.state import State
from romana.errors import Unavailable
from romana.reconcile import Report

__all__ = ["Dataplane", "Enforcer"]


class Dataplane(Protocol):
    """The kernel's part: the real one is `policyd.iptables.dataplane.IptablesDataplane`."""

    def apply(self, compiled: Compiled) -> Applied:
        """Bring the kernel to this, whatever is there; blocking.

        Raises Unavailable when it could not; then nothing is more open than before."""


class Enforcer:
    """Brings the kernel to what the state asks for, and reports how far it came."""

    def __init__(self, state: State, node: str, dataplane: Dataplane, waiting: Waiting, report: Callable[[Report], None]) -> None:
        self._state = state
        self._compiler = Compiler(state.index, node)
        self._dataplane = dataplane
        self._waiting = waiting
        self._report = report
        self.counts = PolicyCounts()
        self._applied: Mapping[str, int] = {}

    async def sync(self) -> Mapping[str, object]:
        """One pass. The receipt's revisions move only when all of it is in the kernel."""
        applied, local, whole = self._state.applied, dict(self._state.local), self._state.whole
        began_s = time.monotonic()
        compiled = self._compiler.compile()
        self.counts.compiled(time.monotonic() - began_s, max(applied.values(), default=0))
        began_s = time.monotonic()
        try:
            done = await asyncio.to_thread(self._dataplane.apply, compiled)
        except Unavailable as err:
            self._report(Report(self._applied, (("policy-apply-failed", str(err)), *self._state.problems)))
            raise
        if not whole:  # pods that a policy means are not all known yet: what is in force is right, but narrower than it will be
            applied = self._applied
        self.counts.applied(compiled, done, time.monotonic() - began_s, applied, is_repair=applied == self._applied)
        self._applied = applied
        problems = (*((problem.code, problem.message) for problem in done.problems), *self._state.problems)
        self._report(Report(applied, problems))
        covered = {pod.interface for pod in compiled.pods} if whole else set()
        in_force = {key: one.revision for key, one in local.items() if one.endpoint.host_interface in covered}
        self._waiting.tell(in_force, applied)
        shape = {"pods": len(compiled.pods), "groups": len(compiled.groups), "changed": done.changed, "bumped": done.bumped}
        return {**shape, "problems": [text for _, text in problems][:5]}
