"""The whole run: etcd and ipamd, clients and admin, blows and checks, and what was found."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from romana import keys
from romana.bench import machine
from romana.bench.hammer.admin import Admin
from romana.bench.hammer.calls import Calls
from romana.bench.hammer.checker import Checker
from romana.bench.hammer.client import Client
from romana.bench.hammer.faults import Faults
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.ledger import Ledger
from romana.bench.hammer.nodes import Nodes
from romana.bench.hammer.rig import Rig, rig
from romana.bench.hammer.settling import Parts, await_serving, settle
from romana.bench.hammer.world import nodes, pods
from romana.errors import Ambiguous, RomanaError, Unavailable
from romana.store.api import Op, Put
from romana.store.etcd import EtcdStore
from romana.store.limits import MAX_OPS
from romana.v1 import store_pb2

__all__ = ["Hammer", "Outcome", "Settings"]

NODES = 6
PROGRESS_S = 2.0
STORE_TIMEOUT_S = 5.0
READY_S = 120.0
ENDS_S = 300.0  # for what was begun to come to its end when nobody is hurt any more
SETTLE_S = 900.0
FINDINGS_MAX = 200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of what; a run ends at `operations` or after `seconds`, whichever is first; never, where both are None."""

    seed: int
    operations: int | None
    seconds: float | None
    members: int = 3
    ipamds: int = 3
    clients: int = 24
    batch: int = 64
    """Requests in the largest batch."""
    pause_max_s: float = 4.0
    """Between two blows."""


@dataclass
class Outcome:
    """What a run did and found. `violations` is empty when nothing was contradicted."""

    settings: Settings
    began: str
    machine: dict[str, object]
    figures: dict[str, object] = field(default_factory=dict)
    violations: list[dict[str, Any]] = field(default_factory=list)
    """Each: invariant, text, keys, revision, seconds since the start, blows before."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        head = {"benchmark": "ipam-hammer", "seed": self.settings.seed, "began": self.began, "machine": self.machine}
        return {**head, "settings": asdict(self.settings), "figures": self.figures, "violations": self.violations}


class Hammer:
    """One run."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings, self._say = settings, say
        self._began = time.monotonic()
        self._outcome = Outcome(settings, machine.now(), dict(machine.describe()))
        self._seen: set[tuple[str, str]] = set()
        self._faults: Faults | None = None
        self._told = False

    async def run(self) -> Outcome:
        """Everything, to the end; raises what the rig raises when it cannot be started."""
        wanted = self._settings
        limits = [f"{wanted.operations} operations"] if wanted.operations else []
        limits += [f"{wanted.seconds:g} s"] if wanted.seconds else []
        self._say(f"seed {wanted.seed}: {' or '.join(limits) or 'no end'}, {wanted.clients} clients")
        with rig(wanted.members, wanted.ipamds) as made:
            theirs, ours = (EtcdStore(made.endpoints, timeout_s=STORE_TIMEOUT_S) for _ in range(2))
            try:
                await self._on(made, theirs, ours)
            finally:
                await theirs.close()
                await ours.close()
        return self._outcome

    async def _on(self, made: Rig, theirs: EtcdStore, ours: EtcdStore) -> None:
        """`theirs` is the checker's store; `ours` writes Pod objects and compacts."""
        await _write_pods(ours)
        parts = self._parts(made, theirs)
        self._faults = faults = Faults(made, ours, parts.checker, self._random("blows"), self._settings.pause_max_s, self._found)
        checking = asyncio.create_task(parts.checker.run(), name="checker")
        try:
            await await_serving(parts.calls)
            await parts.admin.lay_out()
            self._say("ready; now it begins")
            took_s = await self._hammer(parts, faults, checking)
            await self._settle(parts, checking)
            self._outcome.figures = _figures(parts, faults, took_s)
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)
            await parts.calls.close()

    def _parts(self, made: Rig, theirs: EtcdStore) -> Parts:
        wanted = self._settings
        calls, there, ledger = Calls(made.targets), Nodes(nodes(NODES)), Ledger()
        checker = Checker(theirs, self._found)
        admin = Admin(self._random("admin"), calls, there, ledger, self._found)
        clients = tuple(
            Client(number, self._random(f"client {number}"), calls, there, ledger, checker, self._found, wanted.batch)
            for number in range(wanted.clients)
        )
        return Parts(made, theirs, calls, there, ledger, checker, admin, clients, self._found)

    async def _hammer(self, parts: Parts, faults: Faults, checking: "asyncio.Task[None]") -> float:
        """Until there were enough operations or seconds; how many seconds it took."""
        stop, began = asyncio.Event(), time.monotonic()
        hurting = asyncio.create_task(faults.run(), name="blows")
        runs = [parts.admin.run(stop), *(client.run(stop) for client in parts.clients)]
        working = [asyncio.create_task(run, name="work") for run in runs]
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._tell)
        try:
            while not self._enough(parts.calls, began):
                await _any_error([hurting, checking, *working], PROGRESS_S)
                self._say(self._progress(parts, faults))
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
            stop.set()
            hurting.cancel()
            await asyncio.gather(hurting, return_exceptions=True)
        took_s = time.monotonic() - began
        await _any_error([checking, *working], 0.0)
        _, late = await asyncio.wait(working, timeout=ENDS_S)
        for task in late:
            self._found(Finding("I13", f"{task.get_coro()} did not come to its end within {ENDS_S:g} s with nobody hurt"))
            task.cancel()
        await asyncio.gather(*working, return_exceptions=not late)
        return took_s

    async def _settle(self, parts: Parts, checking: "asyncio.Task[None]") -> None:
        self._say("nobody is hurt any more; everything must agree")
        settling = asyncio.create_task(settle(parts), name="settling")
        try:
            await asyncio.wait([settling, checking], timeout=SETTLE_S, return_when=asyncio.FIRST_COMPLETED)
            if checking.done():
                checking.result()
            if settling.done():
                settling.result()
            else:
                self._found(Finding("I13", f"with nobody hurt not everything was released and agreed within {SETTLE_S:g} s"))
        except RomanaError as err:
            self._found(Finding("I13", f"with nobody hurt it did not come to its end: {err}"))
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    def _enough(self, calls: Calls, began: float) -> bool:
        if self._told:
            return True
        operations, seconds = self._settings.operations, self._settings.seconds
        done = operations is not None and calls.operations >= operations
        return done or (seconds is not None and time.monotonic() - began >= seconds)

    def _tell(self) -> None:
        """SIGINT ends the run in good order; what follows is judged as ever."""
        self._told = True

    def _progress(self, parts: Parts, faults: Faults) -> str:
        done, living = parts.calls.operations, len(parts.ledger.living)
        at = f"{self._seconds:.0f} s: {done} operations, {living} live"
        checked = f"revision {parts.checker.picture.revision}, {parts.checker.wholes} whole checks"
        return f"{at}, {checked}, {faults.counts.total()} blows, {len(self._outcome.violations)} violations"

    def _found(self, finding: Finding) -> None:
        if (finding.invariant, finding.text) in self._seen or len(self._outcome.violations) >= FINDINGS_MAX:
            return  # it is still so
        self._seen.add((finding.invariant, finding.text))
        self._say(f"VIOLATION {finding}; keys: {', '.join(finding.keys) or 'none'}")
        blows = list(self._faults.last) if self._faults else []
        self._outcome.violations.append({**asdict(finding), "after_s": self._seconds, "blows_before": blows})

    def _random(self, what: str) -> Random:
        """A source of its own for each part, so that none shifts another's draw."""
        return Random(f"{self._settings.seed} {what}")  # noqa: S311 - a repeatable draw is the point

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)


async def _any_error(tasks: Sequence["asyncio.Task[None]"], timeout_s: float) -> None:
    """Wait that long; raises what any of them raised: a bug of the hammer's own."""
    done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def _write_pods(store: EtcdStore) -> None:
    """What the mirror of Kubernetes would write. Waits for etcd."""
    puts: list[Op] = []
    for pod in pods():
        annotations = {"romana.io/ip": str(pod.ip)} if pod.ip else {}
        message = store_pb2.Pod(labels=dict(pod.labels), annotations=annotations)
        puts.append(Put(keys.pod(pod.namespace, pod.name), message.SerializeToString()))
    for start in range(0, len(puts), MAX_OPS):
        await _written(store, puts[start : start + MAX_OPS])


async def _written(store: EtcdStore, puts: Sequence[Op]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            await store.txn([], puts)
        except (Unavailable, Ambiguous):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return


def _figures(parts: Parts, faults: Faults, took_s: float) -> dict[str, object]:
    checker, done = parts.checker, parts.calls.operations
    return {
        "operations": done,
        "seconds": round(took_s, 1),
        "operations_per_s": round(done / took_s, 1),
        "revisions_judged": checker.revisions,
        "revisions_missed": checker.missed,
        "whole_checks": checker.wholes,
        "answers_compared": checker.answers,
        "outcomes": dict(sorted(parts.calls.outcomes.items())),
        "admin": dict(sorted(parts.admin.counts.items())),
        "blows": dict(sorted(faults.counts.items())),
    }
