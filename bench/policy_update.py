"""How long a change of policy takes in an idle lab of three nodes: run `.venv/bin/python bench/policy_update.py`, JSON on stdout.

policy written --> in the store --> every node's receipt                                    apply_wait
CNI ADD of a selected pod --> endpoint in the store --> member of another node's set --> its receipt    add
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from pyroute2 import IPSet

from romana import keys
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

TIMEOUT_S = 60.0
PAUSE_S = 1.5  # a receipt is written at most twice a second: after this the next one is written at once
POLL_S = 0.0005


def main() -> None:
    """Bring a lab up, measure, take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    programs, etcd = find_programs()
    plan = plan_lab(f"bench-{os.getpid()}", None, [], None, programs=programs, etcd=etcd)
    try:
        found = asyncio.run(_measured(plan.lab, plan.topology, times))
    finally:
        take_down(plan.lab.name)
    print(json.dumps(found, indent=2))


async def _measured(lab: LabSpec, topology: bytes, times: int) -> dict[str, object]:
    await bring_up(lab, topology, lambda words: print(words, file=sys.stderr))
    store = await open_store([lab.etcd_endpoint], timeout_s=TIMEOUT_S)
    try:
        await add_pod(lab, PodObject("default", "back", {"role": "backend"}, node="node-3"))
        for node in ("node-1", "node-2"):
            await add_pod(lab, PodObject("default", f"front-{node}", {"role": "frontend"}, node=node))
        await _apply(store, "frontend")
        apart = [await _apply_wait(store, number, PAUSE_S) for number in range(times)]
        at_once = [await _apply_wait(store, number, 0.0) for number in range(times)]
        await _apply(store, "frontend")
        added = [await _add(lab, store, number) for number in range(times)]
    finally:
        await store.close()
    names = {name for one in added for name in one}
    return {
        "unit": "ms",
        "times": times,
        "apply_wait": {"1.5 s apart": _summary(apart), "one after another": _summary(at_once)},
        "add": {name: _summary([one[name] for one in added]) for name in sorted(names)},
    }


async def _apply(store: Store, role: str) -> None:
    peer = {"podSelector": {"matchLabels": {"role": role}}}
    spec = {"podSelector": {"matchLabels": {"role": "backend"}}, "ingress": [{"from": [peer]}]}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}
    async for applied in apply_objects(store, parse(json.dumps(policy).encode()).objects):
        waited = await wait_until_enforced(store, applied.revisions, TIMEOUT_S)
        if not waited.done:
            raise SystemExit(f"not in force: {waited}")


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
        raise SystemExit("the watch ended")

    task = asyncio.create_task(heard())
    await asyncio.sleep(0.05)  # the watch stands
    try:
        yield task
    finally:
        task.cancel()


async def _acknowledged(store: Store, pod: PodRecord) -> float:
    endpoint = await store.get(keys.endpoint(pod.namespace, pod.name, pod.container_id))
    if endpoint is None:
        raise SystemExit("the endpoint is gone")
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
    return round((ended - began) * 1000, 1)


def _summary(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {"median": round(statistics.median(ordered), 1), "p99": p99, "least": ordered[0], "most": ordered[-1]}


if __name__ == "__main__":
    main()
