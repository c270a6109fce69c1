"""Pods that come and go by the real CNI program, as a kubelet would have them: a DEL is tried until it works."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from romana.errors import NotFound, RomanaError
from romana.lab.pods import PodRecord, add_pod, delete, find_pod
from romana.lab.probe import Pod, reach
from romana.lab.spec import LabSpec
from romana.objects.models import PodObject

__all__ = ["Churn"]

ROLES = ("friend", "stranger")
HELD_MAX = 6
"""Pods that one worker keeps at most."""
AGAIN_S = 0.5


class Churn:
    """One worker's pods. `pods` are those whose ADD was answered; `findings` is told what nothing may do."""

    def __init__(self, lab: LabSpec, number: int, random: Random, anchors: dict[str, Pod], found: Callable[[str], None]) -> None:
        """`anchors`: per node a long-lived pod that every pod may reach."""
        self._lab, self._number, self._random, self._anchors, self._found = lab, number, random, anchors, found
        self._count = 0
        self.pods: dict[str, PodRecord] = {}
        self.adds_ms: list[float] = []
        self.refused: list[str] = []
        """What ADDs that failed were told."""

    async def run(self, stop: asyncio.Event) -> None:
        """Add and delete until told to stop; a step that has begun is finished, a pod half there is removed."""
        while not stop.is_set():
            if self.pods and (len(self.pods) >= HELD_MAX or self._random.random() < 0.4):
                await self._remove(self._random.choice(sorted(self.pods)))
            else:
                await self._add()

    async def empty(self) -> None:
        """Delete all pods."""
        for name in sorted(self.pods):
            await self._remove(name)

    async def _add(self) -> None:
        self._count += 1
        name = f"churn-{self._number}-{self._count}"
        node = self._random.choice(self._lab.nodes).name
        began = time.monotonic()
        try:
            pod = await add_pod(self._lab, PodObject("default", name, {"role": self._random.choice(ROLES)}, node=node))
        except RomanaError as err:
            self.refused.append(f"{name} on {node} after {time.monotonic() - began:.1f} s: {err}")
            await self._until_gone(name)
            return
        self.adds_ms.append((time.monotonic() - began) * 1000)
        self.pods[name] = pod
        await self._works_at_once(pod)

    async def _works_at_once(self, pod: PodRecord) -> None:
        """ADD vouches for its own node: there a new pod reaches others from the moment that it answers."""
        source, target = Pod(pod.name, Path(pod.netns), pod.ips[0]), self._anchors[pod.node]
        if not await reach(source, target) and not await reach(source, target):
            self._found(f"{pod.name} ({pod.ips[0]}) on {pod.node} does not reach {target.name} ({target.ip}) there after its ADD")

    async def _remove(self, name: str) -> None:
        await self._until_gone(name)
        del self.pods[name]

    async def _until_gone(self, name: str) -> None:
        while True:
            if await self._gone(name):
                return
            await asyncio.sleep(AGAIN_S)

    async def _gone(self, name: str) -> bool:
        try:
            await delete(self._lab, find_pod(self._lab, "default", name))
        except RomanaError as err:
            return isinstance(err, NotFound)
        return True
