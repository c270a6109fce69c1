"""Deals the blows of a schedule, and looks after the processes: who is down comes back, who ends by itself is told of."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from random import Random

from romana.bench.hammer.blows import Blow, Kind, next_blow
from romana.bench.hammer.checker import Checker
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.rig import Rig
from romana.errors import RomanaError
from romana.store.api import Store

__all__ = ["Faults"]

LOOK_S = 0.1
REMEMBERED = 15


class Faults:
    """`counts` says how often what was done to whom; `last` are the latest, in words."""

    def __init__(
        self, rig: Rig, store: Store, checker: Checker, random: Random, pause_max_s: float, found: Callable[[Finding], None]
    ) -> None:
        self._rig, self._store, self._checker, self._random, self._found = rig, store, checker, random, found
        self._pause_max_s = pause_max_s
        self._began = time.monotonic()
        self._down: dict[str, float] = {}
        self._frozen: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        """Blow after blow until cancelled; then all run again."""
        crowds = [[process.name for process in crowd] for crowd in (self._rig.ipamds, self._rig.members)]
        try:
            while True:
                blow = next_blow(self._random, crowds, self._pause_max_s)
                await self._deal(blow)
                until = time.monotonic() + blow.pause_s
                while time.monotonic() < until:
                    self.look_after()
                    await asyncio.sleep(LOOK_S)
        finally:
            self._down.clear()
            self._frozen.clear()
            self.look_after()
            self._rig.start()

    def look_after(self) -> None:
        """Bring back whoever's time is over, and tell of whoever ended by itself."""
        now = time.monotonic()
        for process in self._rig.processes.values():
            if words := process.ended():
                self._found(Finding("process", words))
            if self._down.get(process.name, 0.0) <= now:
                self._down.pop(process.name, None)
                process.start()
            if self._frozen.get(process.name, now + 1) <= now:
                del self._frozen[process.name]
                process.thaw()

    async def _deal(self, blow: Blow) -> None:
        until = time.monotonic() + blow.lasts_s
        self._note(blow)
        if blow.kind is Kind.COMPACT:
            await self._compact(self._checker.picture.revision - blow.kept)
        for process in (self._rig.processes[name] for name in blow.victims):
            if blow.kind is Kind.KILL:
                process.kill()
                self._frozen.pop(process.name, None)
                self._down[process.name] = until
            else:
                process.freeze()
                self._frozen[process.name] = until

    async def _compact(self, revision: int) -> None:
        try:
            await self._store.compact(max(revision, 1))
        except RomanaError:
            self.last.append("  which etcd refused")

    def _note(self, blow: Blow) -> None:
        for victim in blow.victims or ("",):
            self.counts[f"{blow.kind.value} {victim.rpartition('-')[0]}".strip()] += 1
        whom, length = " ".join(blow.victims), f" for {blow.lasts_s:.1f} s" if blow.lasts_s else ""
        kept = f", {blow.kept} revisions kept" if blow.kind is Kind.COMPACT else ""
        self.last.append(f"{time.monotonic() - self._began:.1f} s: {blow.kind.value} {whom}{length}{kept}")
