"""The administrator: nodes go, drain and come back under their names, topologies are applied, addresses are reserved."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import TypeVar

from romana.bench.hammer.calls import Calls
from romana.bench.hammer.draws import AdminAct, AdminKind, next_admin_act
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.ledger import Ledger
from romana.bench.hammer.nodes import Incarnation, Nodes
from romana.bench.hammer.world import Variant, document, reserved_cidr
from romana.errors import Conflict, Refused, RomanaError, Unavailable
from romana.rpc.status import reason_of
from romana.v1 import ipam_pb2, node_pb2, topology_pb2

__all__ = ["Admin"]

Answer = TypeVar("Answer")

TIMEOUT_S = 10.0
PAUSE_S = 0.1


class Admin:
    """One act at a time; each is carried to its end, however often it must be repeated. `counts` says what came of how many."""

    def __init__(self, random: Random, calls: Calls, nodes: Nodes, ledger: Ledger, found: Callable[[Finding], None]) -> None:
        self._random, self._calls, self._nodes, self._ledger, self._found = random, calls, nodes, ledger, found
        self.counts: Counter[str] = Counter()
        self._doing = {
            AdminKind.RECREATE: self._recreate,
            AdminKind.REMOVE: self._remove,
            AdminKind.DRAIN: self._drain,
            AdminKind.RELABEL: self._relabel,
            AdminKind.APPLY: self._apply,
            AdminKind.RESERVE: self._reserve,
            AdminKind.RELEASE_RESERVATION: self._release_reservation,
        }

    async def lay_out(self) -> None:
        """Apply the first topology and add all nodes."""
        await self._until_answered(0, partial(self._apply_once, variant=Variant()))
        for node in self._nodes:
            await self._add(0, node)

    async def put_right(self) -> None:
        """Have every node there and ready, when nobody is hurt: a delayed removal or drain may have come last."""
        for node in self._nodes:
            await self._come_back(0, node)
            await self._undo(0, node)

    async def run(self, stop: asyncio.Event) -> None:
        """Act after act until told to stop; the last one comes to its end."""
        while not stop.is_set():
            act = next_admin_act(self._random, self._nodes.count, len(self._calls.targets))
            how = "done"
            try:
                await self._doing[act.kind](act)
            except RomanaError as err:
                how = reason_of(err)
            self.counts[f"{act.kind.value}: {how}"] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), act.pause_s)

    async def _recreate(self, act: AdminAct) -> None:
        node = self._nodes.at(act.node)
        self._ledger.node_goes(node.spec.name)
        request = node_pb2.RemoveNodeRequest(name=node.spec.name, force=True, uid=node.uid)
        await self._until_answered(act.ipamd, partial(self._removed, request=request))
        self._ledger.node_went(node.spec.name)
        self._renew(node)
        await self._come_back(act.ipamd, node)

    async def _remove(self, act: AdminAct) -> None:
        """Only if nothing runs on it; where something does, it takes pods again."""
        node = self._nodes.at(act.node)
        request = node_pb2.RemoveNodeRequest(name=node.spec.name, uid=node.uid)
        try:
            await self._until_answered(act.ipamd, partial(self._removed, request=request))
        except Refused:
            await self._undo(act.ipamd, node)
            raise
        living = [entry.key for entry in self._ledger.entries.values() if entry.addresses and entry.node == node.spec.name]
        if living:
            self._found(Finding("I9", f"node {node.spec.name} was removed while {len(living)} live on it", tuple(living[:8])))
        self._renew(node)
        await self._come_back(act.ipamd, node)

    async def _drain(self, act: AdminAct) -> None:
        node = self._nodes.at(act.node)
        request = node_pb2.DrainNodeRequest(name=node.spec.name)
        await self._until_answered(act.ipamd, partial(self._drained, request=request))
        await asyncio.sleep(act.lasts_s)
        await self._undo(act.ipamd, node)

    async def _undo(self, at: int, node: Incarnation) -> None:
        request = node_pb2.DrainNodeRequest(name=node.spec.name, undo=True)
        await self._until_answered(at, partial(self._drained, request=request))

    async def _come_back(self, at: int, node: Incarnation) -> None:
        """Add it. An earlier AddNode whose answer was lost may have come between, with a uid of then: that one goes again."""
        name = node.spec.name
        while True:
            try:
                await self._add(at, node)
            except Refused:
                self.counts["an AddNode came late"] += 1
                self._ledger.node_goes(name)
                uid = (await self._until_answered(at, partial(self._asked, name=name))).node.uid
                again = node_pb2.RemoveNodeRequest(name=name, force=True, uid=uid)
                await self._until_answered(at, partial(self._removed, request=again))
                self._ledger.node_went(name)
            else:
                return

    async def _relabel(self, act: AdminAct) -> None:
        await self._add(act.ipamd, self._nodes.at(act.node), turn=str(self._random.randrange(1000)))

    async def _apply(self, act: AdminAct) -> None:
        await self._apply_once(act.ipamd, act.variant)

    async def _reserve(self, act: AdminAct) -> None:
        request = ipam_pb2.ReserveRequest(cidr=reserved_cidr(act.reservation), note="hammer")
        await self._calls.ipam(act.ipamd, lambda stub: stub.Reserve(request, timeout=TIMEOUT_S))

    async def _release_reservation(self, act: AdminAct) -> None:
        request = ipam_pb2.ReleaseReservationRequest(cidr=reserved_cidr(act.reservation))
        await self._calls.ipam(act.ipamd, lambda stub: stub.ReleaseReservation(request, timeout=TIMEOUT_S))

    async def _add(self, at: int, node: Incarnation, turn: str = "") -> None:
        labels = {"rack": node.spec.rack, **({"turn": turn} if turn else {})}
        request = node_pb2.AddNodeRequest(name=node.spec.name, uid=node.uid, addresses=[node.spec.address], labels=labels)

        async def add(at: int) -> node_pb2.AddNodeResponse:
            try:
                return await self._calls.topology(at, lambda stub: stub.AddNode(request, timeout=TIMEOUT_S))
            except Unavailable:
                node.may_come_late.add(node.uid)
                raise

        await self._until_answered(at, add)

    async def _apply_once(self, at: int, variant: Variant) -> topology_pb2.ApplyResponse:
        request = topology_pb2.ApplyRequest(document=document(variant))
        return await self._calls.topology(at, lambda stub: stub.Apply(request, timeout=TIMEOUT_S))

    async def _removed(self, at: int, request: node_pb2.RemoveNodeRequest) -> node_pb2.RemoveNodeResponse:
        return await self._calls.topology(at, lambda stub: stub.RemoveNode(request, timeout=TIMEOUT_S))

    async def _asked(self, at: int, name: str) -> node_pb2.GetNodeResponse:
        return await self._calls.topology(at, lambda stub: stub.GetNode(node_pb2.GetNodeRequest(name=name), timeout=TIMEOUT_S))

    async def _drained(self, at: int, request: node_pb2.DrainNodeRequest) -> node_pb2.DrainNodeResponse:
        return await self._calls.topology(at, lambda stub: stub.DrainNode(request, timeout=TIMEOUT_S))

    def _renew(self, node: Incarnation) -> None:
        old = node.renew()
        if old not in node.may_come_late:
            self._ledger.retired.setdefault(node.spec.name, []).append(old)

    async def _until_answered(self, at: int, call: Callable[[int], Awaitable[Answer]]) -> Answer:
        """Ask one ipamd after the other until one answers, refusals included."""
        while True:
            try:
                return await call(at)
            except (Unavailable, Conflict):
                at = (at + 1) % len(self._calls.targets)
                await asyncio.sleep(PAUSE_S)
