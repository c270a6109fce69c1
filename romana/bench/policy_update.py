"""`romana bench policy-update`: how long a change of policy takes in an idle lab of three nodes.

policy written --> in the store --> every node's receipt                                            apply --wait
CNI ADD of a selected pod --> endpoint in the store --> member of another node's set --> receipts   add
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from pyroute2 import IPSet

from romana import keys
from romana.bench import machine
from romana.bench.report import Report, Series
from romana.errors import FatalError
from romana.lab.down import take_down
from romana.lab.plan import plan_lab
from romana.lab.pods import PodRecord, add_pod, delete
from romana.lab.spec import LabSpec
from romana.lab.up import bring_up, find_programs
from romana.netlink.netns import call_in
from romana.objects.applying import apply_objects
from romana.objects.manifest import parse
from romana.objects.models import PodObject
from romana.objects.waiting import wait_until_enforced
from romana.store.api import Store
from romana.store.opening import open_store
from romana.v1.store_pb2 import Endpoint

__all__ = ["measure"]

TIMEOUT_S = 60.0
PAUSE_S = 1.5  # a receipt is written at most twice a second: after this the next one is written at once
POLL_S = 0.0005


async def measure(times: int, say: Callable[[str], None]) -> Report:
    """Bring a lab up, measure so many times each, take it down. Raises what a lab that does not come up raises."""
    began, where = machine.now(), machine.describe()
    programs, etcd = find_programs()
    plan = plan_lab(f"bench-{os.getpid()}", None, [], None, programs=programs, etcd=etcd)
    try:
        series = await _measured(plan.lab, plan.topology, times, say)
    finally:
        take_down(plan.lab.name)
    note = "there is no peer here: the limit is the pause between two receipts, 500 ms"
    return Report("policy-update", began, where, series, {"times": times, "nodes": 3}, (note,))


async def _measured(lab: LabSpec, topology: bytes, times: int, say: Callable[[str], None]) -> tuple[Series, ...]:
    await bring_up(lab, topology, say)
    store = await open_store(lab.etcd_endpoints, timeout_s=TIMEOUT_S)
    try:
        await add_pod(lab, PodObject("default", "back", {"role": "backend"}, node="node-3"))
        for node in ("node-1", "node-2"):
            await add_pod(lab, PodObject("default", f"front-{node}", {"role": "frontend"}, node=node))
        await _apply(store, "frontend")
        say(f"measuring: {times} policies 1.5 s apart, {times} one after another, {times} pods")
        apart = [await _apply_wait(store, number, PAUSE_S) for number in range(times)]
        at_once = [await _apply_wait(store, number, 0.0) for number in range(times)]
        await _apply(store, "frontend")
        added = [await _add(lab, store, number) for number in range(times)]
    finally:
        await store.close()
    applied = {"apply --wait, 1.5 s apart": apart, "apply --wait, one after another": at_once}
    steps = {name: [one[name] for one in added] for name in added[0]}
    return tuple(Series(name, "ms", tuple(samples)) for name, samples in (applied | steps).items())


async def _apply(store: Store, role: str) -> None:
    peer = {"podSelector": {"matchLabels": {"role": role}}}
    spec = {"podSelector": {"matchLabels": {"role": "backend"}}, "ingress": [{"from": [peer]}]}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}
    async for applied in apply_objects(store, parse(json.dumps(policy).encode()).objects):
        waited = await wait_until_enforced(store, applied.revisions, TIMEOUT_S)
        if not waited.done:
            raise FatalError(f"not in force: {waited}")


async def _apply_wait(store: Store, number: int, pause_s: float) -> float:
    """A policy whose peers change each time."""
    await asyncio.sleep(pause_s)
    began = time.monotonic()
    await _apply(store, ("frontend", "backend")[number % 2 - 1])
    return _ms(began, time.monotonic())


async def _add(lab: LabSpec, store: Store, number: int) -> dict[str, float]:
    """One pod on node-1 that becomes a peer of the pod on node-3."""
    await asyncio.sleep(PAUSE_S)
    async with _written(store) as written:
        began = time.monotonic()
        adding = asyncio.create_task(add_pod(lab, PodObject("default", f"new-{number}", {"role": "frontend"}, node="node-1")))
        address, written_at = await written
        member = asyncio.create_task(asyncio.to_thread(_member_at, lab.netns("node-3"), address))
        pod = await adding
        returned_at = time.monotonic()
        in_kernel_at = await member
        acknowledged_at = await _acknowledged(store, pod)
    await delete(lab, pod)
    return {
        "CNI ADD with its Pod object and namespace": _ms(began, returned_at),
        "endpoint written to member of the other node's set": _ms(written_at, in_kernel_at),
        "ADD answered to member of the other node's set (negative: before it)": _ms(returned_at, in_kernel_at),
        "endpoint written to the other nodes' receipts": _ms(written_at, acknowledged_at),
    }


@asynccontextmanager
async def _written(store: Store) -> AsyncIterator[asyncio.Task[tuple[str, float]]]:
    """The address of the next endpoint that is written, and when this process heard of it."""
    revision = (await store.list(keys.ENDPOINTS)).revision

    async def heard() -> tuple[str, float]:
        async with aclosing(store.watch(keys.ENDPOINTS, revision + 1)) as batches:
            async for batch in batches:
                for event in batch.events:
                    if event.value is not None:
                        return Endpoint.FromString(event.value.value).addresses[0], time.monotonic()
        raise FatalError("the watch ended")

    task = asyncio.create_task(heard())
    await asyncio.sleep(0.05)  # the watch stands
    try:
        yield task
    finally:
        task.cancel()


async def _acknowledged(store: Store, pod: PodRecord) -> float:
    endpoint = await store.get(keys.endpoint(pod.namespace, pod.name, pod.container_id))
    if endpoint is None:
        raise FatalError("the endpoint is gone")
    await wait_until_enforced(store, {f"{keys.ENDPOINTS}{pod.namespace}/": endpoint.mod_revision}, TIMEOUT_S)
    return time.monotonic()


def _member_at(netns: str, address: str) -> float:
    """When an address is in a set of peers of that node; blocking."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)

    def look() -> float:
        with IPSet() as sets:
            names = [str(found.get_attr("IPSET_ATTR_SETNAME")) for found in sets.list()]
            peers = [name for name in names if name.startswith("rom-in-") and not name.endswith("6")]
            while not any(sets.test(name, address, etype="net") for name in peers):
                time.sleep(POLL_S)
            return time.monotonic()

    try:
        return call_in(fd, look)
    finally:
        os.close(fd)


def _ms(began: float, ended: float) -> float:
    return (ended - began) * 1000
