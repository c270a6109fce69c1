"""A lab that is brought to what a case says: pods by the CNI program, objects as `romana apply` writes them.

cases.Live --reach--> what differs --> CNI ADD and DEL, apply_objects --settle--> in force on every node --> wrong(probes)
"""

import asyncio
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any, TypeVar

from policyd.compiled import Address
from policyd.policy import ObjectName
from romana import keys
from romana.lab import pods as lab_pods
from romana.lab import record
from romana.lab.spec import LabSpec
from romana.objects.applying import apply_objects, delete_object
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY
from romana.objects.manifest import Identity, parse
from romana.objects.models import PodObject, Port
from romana.objects.waiting import Waited, wait_until_enforced
from romana.store.api import Store
from romana.store.opening import open_store
from tests import cases
from tests.prober.prober import End, Prober

Answer = TypeVar("Answer")

NODES = ("node-1", "node-2", "node-3")
NINE = [ObjectName(namespace, name) for namespace in "xyz" for name in "abc"]
PLACES = dict(zip(NINE, (0, 0, 1, 1, 2, 2, 0, 1, 2), strict=True))
"""The cases' own pods: each node has pods of one namespace and of several."""
ENFORCE_TIMEOUT_S = 30.0
STORE_TIMEOUT_S = 30.0
PATIENCE_S = 2.0


@dataclass
class Attached:
    """A pod that runs: what the lab knows of it, and its network namespace."""

    record: lab_pods.PodRecord
    fd: int

    @property
    def ip(self) -> IPv4Address:
        """Its address."""
        return IPv4Address(self.record.ips[0])


class World:
    """The lab's state as this process made it. `revisions` is what nodes have yet to reach, per watched prefix."""

    def __init__(self, lab: LabSpec, store: Store) -> None:
        self.lab = lab
        self.store = store
        self.addresses: dict[ObjectName, Address] = {}
        self.attached: dict[ObjectName, Attached] = {}
        self.prober = Prober({})
        self.revisions: dict[str, int] = {}
        self._now = cases.Live()

    async def reach(self, live: cases.Live) -> None:
        """Bring namespaces, pods and policies to those of the case, touching only what differs."""
        await self._delete_namespaces(live)
        await self._delete_policies(live)
        await asyncio.gather(*(self.detach(name) for name in list(self.attached) if name not in live.pods))
        await self.apply(*_namespaces(self._now, live), *_changed_pods(self._now, live))
        self._now.namespaces = {name: dict(labels) for name, labels in live.namespaces.items()}
        new = [name for name in live.pods if name not in self.attached]
        await asyncio.gather(*(self.attach(name, live.pods[name]) for name in new))
        self._now.pods = dict(live.pods)
        await self.apply(*(policy for name, policy in live.policies.items() if self._now.policies.get(name) != policy))
        self._now.policies = dict(live.policies)

    async def settle(self) -> Waited:
        """Return when every node has in its kernel what was written; what is probed after it must be right."""
        waited = await wait_until_enforced(self.store, self.revisions, ENFORCE_TIMEOUT_S)
        assert waited.done, f"{waited} for {self.revisions}"
        self.revisions.clear()
        return waited

    async def wrong(self, probes: Iterable[cases.Probe]) -> list[str]:
        """The connections that are not as they must be, in words."""
        wanted: dict[tuple[str, int], dict[tuple[str, str], bool]] = defaultdict(dict)
        for probe in probes:
            wanted[probe.protocol.name, probe.port][str(probe.source), str(probe.destination)] = probe.allowed
        found = await asyncio.gather(*(self._matrix(service, pairs) for service, pairs in wanted.items()))
        return [
            f"{protocol}/{port} {source} -> {target}: {'connects' if reached else 'does not connect'}"
            for ((protocol, port), pairs), cells in zip(wanted.items(), found, strict=True)
            for (source, target), reached in cells.items()
            if reached is not pairs[source, target]
        ]

    async def _matrix(self, service: tuple[str, int], pairs: Mapping[tuple[str, str], bool]) -> dict[tuple[str, str], bool]:
        """Probe at once. What must connect and did not is asked again with more patience: on a busy machine an answer is late,
        while one that must not come is never excused."""
        found = await self.prober.matrix(*service, pairs=pairs)  # type: ignore[arg-type]  # the name of a protocol
        late = [pair for pair, reached in found.items() if pairs[pair] and not reached]
        if late:
            self.prober.patience_s, patience_s = PATIENCE_S, self.prober.patience_s
            found |= await self.prober.matrix(*service, pairs=late)  # type: ignore[arg-type]  # the same
            self.prober.patience_s = patience_s
        return found

    async def apply(self, *documents: Mapping[str, Any]) -> None:
        """What `romana apply` does with a manifest of these; `settle` waits for it."""
        if documents:
            listed = {"apiVersion": "v1", "kind": "List", "items": documents}
            async for one in apply_objects(self.store, parse(json.dumps(listed).encode()).objects):
                self.expect(one.revisions)

    async def delete(self, identity: Identity) -> None:
        """What `romana delete` does."""
        self.expect((await delete_object(self.store, identity)).revisions)

    def expect(self, revisions: Mapping[str, int]) -> None:
        """`settle` waits for these too."""
        for prefix, revision in revisions.items():
            self.revisions[prefix] = max(revision, self.revisions.get(prefix, 0))

    async def attach(self, name: ObjectName, pod: Mapping[str, Any], node: str = "") -> Attached:
        """A pod by its node's CNI program; `settle` then waits until the other nodes know its address."""
        ports = tuple(Port(port["port"], port["protocol"], port["name"]) for port in pod["ports"])
        wanted = PodObject(*name, dict(pod["labels"]), ports, node or place_of(name))
        made = await lab_pods.add_pod(self.lab, wanted)
        attached = self.attached[name] = Attached(made, os.open(made.netns, os.O_RDONLY | os.O_CLOEXEC))
        self.addresses[name] = ip_address(made.ips[0])
        self.prober.pods[str(name)] = End(attached.fd, attached.ip)
        endpoint = await self.store.get(keys.endpoint(*name, made.container_id))
        assert endpoint is not None
        self.expect({f"{keys.ENDPOINTS}{name.namespace}/": endpoint.mod_revision})
        return attached

    async def detach(self, name: ObjectName) -> None:
        """CNI DEL, the network namespace, the Pod object."""
        attached = self.attached.pop(name)
        self.prober.remove(str(name))
        os.close(attached.fd)
        del self.addresses[name]
        self._now.pods.pop(name, None)
        await lab_pods.delete(self.lab, attached.record)

    async def _delete_namespaces(self, live: cases.Live) -> None:
        for gone in self._now.namespaces.keys() - live.namespaces.keys():
            await self.delete(Identity(NAMESPACE, "", gone))
            self._now.policies = {name: policy for name, policy in self._now.policies.items() if name.namespace != gone}

    async def _delete_policies(self, live: cases.Live) -> None:
        for gone in self._now.policies.keys() - live.policies.keys():
            await self.delete(Identity(NETWORK_POLICY, *gone))


@dataclass(frozen=True)
class Stage:
    """A world with the loop that it lives in, for tests that are plain functions."""

    runner: asyncio.Runner
    world: World

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run one piece of work to its end."""
        return self.runner.run(work)


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """A world in the lab of that name; its pods, policies and namespaces go with it."""
    lab = record.load(name)
    with asyncio.Runner() as runner:
        store = runner.run(open_store(lab.etcd_endpoints, timeout_s=STORE_TIMEOUT_S))
        world = World(lab, store)
        try:
            yield Stage(runner, world)
        finally:
            runner.run(world.reach(cases.Live()))
            world.prober.close()
            runner.run(store.close())


async def play(world: World, case: cases.Case) -> None:
    """Every step of a case, and the whole matrix the moment that waiting for it ends."""
    live = cases.Live.of(case)
    live.addresses = world.addresses
    await world.reach(live)
    for number, step in enumerate(case.steps, 1):
        for action in step["actions"]:
            live.apply(action)
            await world.reach(live)
        await world.settle()
        probes = cases.expected(case, step, live)
        assert probes
        assert await world.wrong(probes) == [], f"step {number}: {[next(iter(action)) for action in step['actions']]}"


def place_of(name: ObjectName) -> str:
    """The node of a case's pod."""
    return NODES[PLACES.get(name, zlib.crc32(str(name).encode()) % 3)]


def pod_document(name: ObjectName, pod: Mapping[str, Any], node: str) -> dict[str, Any]:
    """A case's pod as a v1 Pod."""
    ports = [{"name": port["name"], "containerPort": port["port"], "protocol": port["protocol"]} for port in pod["ports"]]
    metadata = {"namespace": name.namespace, "name": name.name, "labels": pod["labels"]}
    container = {"name": "main", "image": "main", "ports": ports}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}


def _namespaces(now: cases.Live, live: cases.Live) -> Iterator[dict[str, Any]]:
    for name, labels in live.namespaces.items():
        if now.namespaces.get(name) != labels:
            yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _changed_pods(now: cases.Live, live: cases.Live) -> Iterator[dict[str, Any]]:
    for name, pod in live.pods.items():
        if name in now.pods and _content(now.pods[name]) != _content(pod):
            yield pod_document(name, pod, place_of(name))


def _content(pod: Mapping[str, Any]) -> tuple[Any, Any]:
    return pod["labels"], pod["ports"]
