"""Long-lived pods with open connections between them, and a policy that changes beside them.

    anchor on every node: no policy selects it;  anchor-1 → anchor-2 → anchor-3
    friend → back ← stranger: a policy selects `back`, always lets friends in, and strangers now and then

What flows is always permitted: whatever dies or hangs beside it, no datagram of it may be lost and no connection broken.
"""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from random import Random

from romana.errors import RomanaError
from romana.lab.pods import PodRecord, add_pod
from romana.lab.probe import Answers, Flow, Pod, reach
from romana.lab.spec import LabSpec
from romana.objects.applying import apply_objects
from romana.objects.manifest import parse
from romana.objects.models import PodObject
from romana.objects.waiting import wait_until_enforced
from romana.store.opening import open_store

__all__ = ["Traffic"]

PERIOD_S = 0.02
UNDER_WAY_S = 2.0
STORE_TIMEOUT_S = 10.0
ENFORCED_TIMEOUT_S = 60.0
PACE_S = (0.3, 3.0)


class Traffic:
    """`pods`: those that live as long as the run does, by name; `anchors`: one of each node."""

    def __init__(self, lab: LabSpec, random: Random) -> None:
        self._lab, self._random = lab, random
        self._answers = Answers()
        self._flows: list[Flow] = []
        self._told = 0
        self._strangers = False
        self.pods: dict[str, PodRecord] = {}
        self.anchors: dict[str, Pod] = {}
        self.policies = 0
        """Versions of the policy that were written."""

    async def start(self) -> None:
        """Make the pods and connect them."""
        nodes = [node.name for node in self._lab.nodes]
        for number, node in enumerate(nodes, 1):
            self.anchors[node] = await self._add(f"anchor-{number}", node, "anchor")
        places = {name: nodes[number % len(nodes)] for number, name in enumerate(("back", "friend", "stranger"))}
        self._pods = {name: await self._add(name, node, name) for name, node in places.items()}
        await self._answers.start([*self.anchors.values(), *self._pods.values()])
        await self._write_policy(wait=True)
        ends = [*pairwise(self.anchors.values()), (self._pods["friend"], self._pods["back"])]
        self._flows = [Flow(*pair) for pair in ends]
        for flow in self._flows:
            flow.PERIOD_S = PERIOD_S
            flow.start()

    async def stop(self) -> None:
        """Close everything; the pods stay."""
        for flow in self._flows:
            await flow.stop()
        await self._answers.stop()

    async def change_policy(self, stop: asyncio.Event) -> None:
        """Write the policy anew again and again until told to stop; while the store is away there is nothing to write."""
        while not stop.is_set():
            try:
                await self._write_policy(wait=False)
            except RomanaError:
                continue  # every attempt waits for the store itself
            await asyncio.sleep(self._random.uniform(*PACE_S))

    async def faults(self) -> list[str]:
        """At a quiet point: what was lost or broken, and whether new connections are as the policy says."""
        before = [flow.sent for flow in self._flows]
        await asyncio.sleep(UNDER_WAY_S)
        lines = [f"connection {_ends(flow)}: {flow.broken}" for flow in self._flows if flow.broken]
        for flow, sent in zip(self._flows, before, strict=True):
            if lost := flow.missing(sent):
                lines.append(f"datagrams {_ends(flow)}: {len(lost)} of {sent} lost, such as number {lost[:5]}")
        return lines + await self._policy_faults()

    @property
    def figures(self) -> dict[str, object]:
        """What ran: connections' answers and slowest answer, datagrams."""
        return {
            "datagrams": sum(flow.sent for flow in self._flows),
            "answers": sum(flow.asked for flow in self._flows),
            "slowest_answer_ms": round(max((flow.worst_ms for flow in self._flows), default=0.0), 1),
            "policies_written": self.policies,
        }

    async def _policy_faults(self) -> list[str]:
        try:
            await self._write_policy(wait=True)
        except RomanaError as err:
            return [f"policy: {err}"]
        lines = []
        for name, allowed in (("friend", True), ("stranger", self._strangers)):
            for attempt in range(2):  # a loaded machine may be slower than the probe waits; what is forbidden never gets through
                reached = await reach(self._pods[name], self._pods["back"])
                if reached or not allowed or attempt:
                    break
            if reached != allowed:
                lines.append(f"{name} {'reaches' if reached else 'does not reach'} back, and the policy in force says otherwise")
        return lines

    async def _write_policy(self, *, wait: bool) -> None:
        strangers = self._random.random() < 0.5
        roles = ["friend", *(["stranger"] if strangers else [])]
        peer = {"podSelector": {"matchExpressions": [{"key": "role", "operator": "In", "values": roles}]}}
        spec = {"podSelector": {"matchLabels": {"role": "back"}}, "ingress": [{"from": [peer]}]}
        policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "back"}, "spec": spec}
        store = await open_store(self._lab.etcd_endpoints, timeout_s=STORE_TIMEOUT_S)
        try:
            async for applied in apply_objects(store, parse(json.dumps(policy).encode()).objects):
                self._strangers = strangers
                self.policies += 1
                if not wait:
                    continue
                waited = await wait_until_enforced(store, applied.revisions, ENFORCED_TIMEOUT_S)
                if not waited.done:
                    raise RomanaError(f"not in force after {ENFORCED_TIMEOUT_S:g} s: {waited}")
        finally:
            await store.close()

    async def _add(self, name: str, node: str, role: str) -> Pod:
        record = self.pods[name] = await add_pod(self._lab, PodObject("default", name, {"role": role}, node=node))
        return Pod(name, Path(record.netns), record.ips[0])


def _ends(flow: Flow) -> str:
    return f"{flow.source.name} -> {flow.target.name}"
