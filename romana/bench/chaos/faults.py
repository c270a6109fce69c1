"""Deals the blows of a schedule to a lab, and takes none of them back half-way: `stop` wakes everybody who was frozen."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable
from random import Random

from romana.bench.chaos.schedule import SUPERVISOR, Fault, Kind, next_fault
from romana.lab import processes
from romana.lab.spec import LabSpec

__all__ = ["Faults"]

SIGNALS = {Kind.KILL: signal.SIGKILL, Kind.RESTART: signal.SIGTERM, Kind.FREEZE: signal.SIGSTOP}
CNI = "cni"
"""The CNI program: it lives for as long as a pod comes or goes, as a runtime that is killed takes it along."""


class Faults:
    """`counts` says how often what was done to whom."""

    def __init__(self, lab: LabSpec, random: Random, say: Callable[[str], None]) -> None:
        self._lab, self._random, self._say = lab, random, say
        self._members = [member.id for member in lab.members]
        self._daemons = [spec.id for spec in lab.processes() if spec.id not in self._members] + [SUPERVISOR]
        self._daemons += [f"{CNI}@{node.name}" for node in lab.nodes]
        self._frozen: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Blow after blow until cancelled; then those who are frozen are woken."""
        try:
            while True:
                fault = next_fault(self._random, self._daemons, self._members)
                self._deal(fault)
                await asyncio.sleep(fault.pause_s)
        finally:
            for task in self._frozen:
                task.cancel()
            await asyncio.gather(*self._frozen, return_exceptions=True)

    def _deal(self, fault: Fault) -> None:
        length = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
        self._say(f"{fault.kind.value} {', '.join(fault.victims)}{length}")
        for victim in fault.victims:
            for running in self._found(victim):
                self.counts[f"{fault.kind.value} {victim.partition('@')[0]}"] += 1
                running.signal(SIGNALS[fault.kind])
                if fault.kind is Kind.FREEZE:
                    task = asyncio.create_task(_thaw(running, fault.lasts_s))
                    self._frozen.add(task)
                    task.add_done_callback(self._frozen.discard)

    def _found(self, victim: str) -> list[processes.Running]:
        """The processes of that name; none while it is being started again after the blow before, or no pod comes or goes."""
        name, _, node = victim.partition("@")
        if name == CNI:
            return processes.of_programs_in(self._lab.cni_bin_dir(node))
        running = processes.read_one(self._lab, victim)
        return [running] if running else []


async def _thaw(running: processes.Running, after_s: float) -> None:
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(after_s)
    finally:
        running.signal(signal.SIGCONT)
