"""The whole run: a lab, rounds of faults with a quiet point after each, and what was found."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from romana.bench import machine
from romana.bench.chaos.checks import settled
from romana.bench.chaos.churn import Churn
from romana.bench.chaos.faults import Faults
from romana.bench.chaos.traffic import Traffic
from romana.lab.down import take_down
from romana.lab.plan import plan_lab
from romana.lab.progress import to_the_end
from romana.lab.spec import LabSpec
from romana.lab.up import bring_up, find_programs

__all__ = ["Chaos", "Outcome"]

NODES, MEMBERS, WORKERS = 3, 3, 3
ROUND_S = 25.0
WORK_S = 240.0  # a call of the CNI program may take 110 s, and a pod takes two

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did and found. `findings` is empty when nothing disagreed."""

    seed: int
    began: str
    machine: dict[str, object]
    rounds: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    """Each: seconds since the start, what, evidence."""
    figures: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        where = {"benchmark": "chaos", "seed": self.seed, "began": self.began, "machine": self.machine}
        return {**where, "rounds": self.rounds, "figures": self.figures, "findings": self.findings}


class Chaos:
    """One run over a lab of its own."""

    def __init__(self, seed: int, minutes: float, say: Say) -> None:
        """The lab's name holds the pid, so several may run beside each other."""
        self._seed, self._minutes, self._say = seed, minutes, say
        self._outcome = Outcome(seed, machine.now(), dict(machine.describe()))
        self._began = time.monotonic()
        self._blows: list[str] = []

    async def run(self, *, keep: bool = False) -> Outcome:
        """Bring the lab up, run, take it down (unless something was found and `keep`); raises what a lab that fails raises."""
        programs, etcd = find_programs()
        name = f"chaos-{os.getpid()}"
        plan = plan_lab(name, NODES, [], None, programs=programs, etcd=etcd, etcd_members=MEMBERS)
        self._say(f"seed {self._seed}; {self._minutes:g} minutes over lab {name}")
        try:
            await bring_up(plan.lab, plan.topology, self._say)
            await self._rounds(plan.lab)
        finally:
            if keep and self._outcome.findings:
                self._say(f"the lab stays; remove it by: romana lab down --name {name}")
            else:
                await to_the_end(take_down, name)
        return self._outcome

    async def _rounds(self, lab: LabSpec) -> None:
        traffic = Traffic(lab, _random(self._seed, "traffic"))
        faults = Faults(lab, _random(self._seed, "faults"), self._blow)
        try:
            await traffic.start()
            churns = [Churn(lab, n, _random(self._seed, f"pods {n}"), traffic.anchors, self._found) for n in range(WORKERS)]
            until = time.monotonic() + self._minutes * 60
            while time.monotonic() < until:
                await self._round(faults, churns, traffic, min(ROUND_S, until - time.monotonic()))
                await self._quiet(lab, churns, traffic)
            for churn in churns:
                await churn.empty()
            await self._quiet(lab, churns, traffic)
        finally:
            await traffic.stop()
        adds = [ms for churn in churns for ms in churn.adds_ms]
        refused = [text for churn in churns for text in churn.refused]
        times = {"adds": len(adds), "add_median_ms": round(median(adds), 1) if adds else None, "adds_failed": len(refused)}
        self._outcome.figures = {**times, **traffic.figures, "faults": dict(faults.counts), "failed_adds_said": refused[-20:]}

    async def _round(self, faults: Faults, churns: list[Churn], traffic: Traffic, seconds: float) -> None:
        stop = asyncio.Event()
        hurting = asyncio.create_task(faults.run())
        working = [
            asyncio.create_task(churn.run(stop), name=f"the adding and deleting of pods {n}") for n, churn in enumerate(churns)
        ]
        working.append(asyncio.create_task(traffic.change_policy(stop), name="the writing of the policy"))
        try:
            await asyncio.wait([hurting, *working], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            stop.set()
            hurting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hurting
            await self._ended(working)
        self._outcome.rounds += 1

    async def _ended(self, working: list[asyncio.Task[None]]) -> None:
        """Nobody is hurt any more: what was begun comes to its end."""
        _, late = await asyncio.wait(working, timeout=WORK_S)
        for task in late:
            self._found(f"{task.get_name()} did not come to its end within {WORK_S:g} s without faults")
            task.cancel()
        outcomes = await asyncio.gather(*working, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _quiet(self, lab: LabSpec, churns: list[Churn], traffic: Traffic) -> None:
        pods = {**traffic.pods, **{name: pod for churn in churns for name, pod in churn.pods.items()}}
        before = len(self._outcome.findings)
        for what in [*await settled(lab, pods), *await traffic.faults()]:
            self._found(what)
        new = len(self._outcome.findings) - before
        self._say(f"quiet point {self._outcome.rounds}: {len(pods)} pods, {new or 'no'} findings")

    def _blow(self, words: str) -> None:
        self._blows.append(f"{self._seconds} s: {words}")

    def _found(self, what: str) -> None:
        if any(found["what"] == what for found in self._outcome.findings):
            return  # it is still so
        self._say(f"FOUND: {what}")
        self._outcome.findings.append({"after_s": self._seconds, "what": what, "faults_before": self._blows[-15:]})

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)


def _random(seed: int, what: str) -> Random:
    """A source of its own for each part, so that none shifts another's draw."""
    return Random(f"{seed} {what}")  # noqa: S311 - a repeatable draw is the point
