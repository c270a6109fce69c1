"""Brings a lab up, step by step, each one safe to repeat: `up` after a killed `up` finishes it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cni.install import install
from romana import keys
from romana.errors import ConfigError, NotFound, Refused, Unavailable
from romana.lab import namespaces, processes, record
from romana.lab.progress import Steps, to_the_end
from romana.lab.spec import CONTROL, REFUSED, LabSpec
from romana.lab.supervisor import GUARD
from romana.objects.namespaces import ensure_namespace
from romana.objects.places import BUILT_IN_NAMESPACES
from romana.receipts import POLICYD_PREFIXES, ROUTED_PREFIXES, behind, newest_revisions
from romana.rpc.client import Client
from romana.store.api import Store
from romana.store.opening import open_store
from romana.store.versions import unsupported
from romana.v1.node_pb2 import AddNodeRequest
from romana.v1.store_pb2 import Block, Receipt
from romana.v1.topology_pb2 import ApplyRequest
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["Progress", "bring_up", "find_programs"]

Progress = Callable[[str], None]
Answer = TypeVar("Answer")

READY_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 30.0
POLL_S = 0.02
RECEIPTS = {"routed": ROUTED_PREFIXES, "policyd": POLICYD_PREFIXES}


def find_programs() -> tuple[str, str]:
    """Folder of the romana-* programs and path of etcd; raises ConfigError naming all that is missing, and what brings it."""
    problems = []
    if os.geteuid() != 0:
        problems.append("a lab makes network namespaces: run it as root")
    programs = Path(sys.executable).parent
    if not (programs / "romana-ipamd").exists():
        problems.append(f"{programs} holds no romana-ipamd: run ./dev setup")
    missing = [name for name in ("ip", "nsenter") if not shutil.which(name)]
    if missing:
        problems.append(f"{', '.join(missing)} not found: apt-get install iproute2 util-linux")
    etcd = shutil.which("etcd")
    if not etcd:
        problems.append("etcd not found: apt-get install etcd-server")
    elif reason := unsupported(_etcd_version(etcd)):
        problems.append(f"{etcd}: {reason}")
    if problems or not etcd:
        raise ConfigError("a lab cannot run here: " + "; ".join(problems))
    return str(programs), etcd


async def bring_up(lab: LabSpec, topology: bytes, say: Progress) -> None:
    """Make what is missing of a lab and wait until it answers; raises Unavailable naming what did not, and its log."""
    async with Steps(say) as steps:
        await _bring_up(lab, topology, steps)


async def _bring_up(lab: LabSpec, topology: bytes, steps: Steps) -> None:
    done = steps.done
    _prepare(lab)
    steps.doing("namespaces")
    await to_the_end(namespaces.ensure_fabric, lab)
    done(f"namespaces: {lab.netns('tor')}, {lab.netns(CONTROL)}, {', '.join(lab.netns(node.name) for node in lab.nodes)}")
    _start_supervisor(lab)
    steps.doing(f"etcd and ipamd; logs are in {lab.run}/log")
    refused = await _apply(lab, topology)
    done("etcd and ipamd answer; topology applied, nodes added")
    for name, reason in refused.items():
        done(f"{name} stays outside the cluster: {reason}")
    for node in lab.nodes:
        steps.doing(f"the agent of {node.name}; its log is {lab.run}/log/agent@{node.name}.log")
        await _wait_for_agent(lab, node.name)
        install(lab.cni_bin_dir(node.name), lab.cni_conf_dir(node.name), str(lab.agent_socket(node.name)))
    done("agents answer; CNI programs and configurations installed")
    steps.doing("every node's kernel to be as planned; romana status tells more")
    problems = await _wait_for_routes(lab, [node.name for node in lab.nodes if node.name not in refused])
    done("routes and policy are in the kernel of every node" + (", but for what follows" if problems else ""))
    for problem in problems:
        done(problem)


def _prepare(lab: LabSpec) -> None:
    if record.find(lab.name) is None:
        record.forget(lab.name)  # what a lab of that name left behind before a reboot
    lab.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.save(lab)
    lab.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (*(member.id for member in lab.members), "log", "pids", "pods"):
        (lab.run / folder).mkdir(exist_ok=True)
    for path, text in lab.configs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        processes.write_atomically(path, text)


def _start_supervisor(lab: LabSpec) -> None:
    if processes.read_one(lab, "guard"):
        return
    command = ["sh", "-c", GUARD, "sh", str(lab.run / record.RECORD), sys.executable, lab.name]
    with (lab.run / "log" / "supervisor.log").open("ab") as output:
        guard = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    processes.record(lab, "guard", guard.pid)


async def _apply(lab: LabSpec, topology: bytes) -> dict[str, str]:
    """Put the topology in force and add the nodes; gives those that it has no group for, with the reason."""
    store = await open_store(lab.etcd_endpoints, timeout_s=READY_TIMEOUT_S)
    try:
        for name in BUILT_IN_NAMESPACES:
            await ensure_namespace(store, name)
    finally:
        await store.close()
    async with Client([lab.ipam_endpoint]) as client:
        request = ApplyRequest(document=topology)
        await client.call(lambda channel, left: TopologyStub(channel).Apply(request, timeout=left), READY_TIMEOUT_S)
        refused: dict[str, str] = {}
        for node in lab.nodes:
            try:
                addresses = [str(address) for address in lab.addresses(node)]
                await _add_node(client, AddNodeRequest(name=node.name, addresses=addresses, labels=node.labels))
            except Refused as err:
                refused[node.name] = str(err)
    processes.write_atomically(lab.run / REFUSED, json.dumps(refused))
    return refused


async def _add_node(client: Client, request: AddNodeRequest) -> None:
    await client.call(lambda channel, left: TopologyStub(channel).AddNode(request, timeout=left), CALL_TIMEOUT_S)


async def _wait_for_agent(lab: LabSpec, node: str) -> None:
    path = lab.agent_socket(node)

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await _until(answers, f"the agent of {node} does not answer on {path}; see {lab.run}/log/agent@{node}.log")


async def _wait_for_routes(lab: LabSpec, nodes: Sequence[str]) -> list[str]:
    """Wait until each of these nodes has its first block and says that all routes of this moment are in its kernel.

    The answer is what they say that is wrong all the same, as a block that no route can lead to."""
    store = await open_store(lab.etcd_endpoints, timeout_s=READY_TIMEOUT_S)

    async def ready() -> bool:
        owners = {Block.FromString(item.value).node for item in (await store.list(keys.BLOCKS)).items}
        return owners >= set(nodes) and all([await _in_force(store, daemon, nodes) for daemon in RECEIPTS])

    try:
        await _until(ready, f"not every routed and policyd has its kernel up to date; see romana status, and {lab.run}/log")
        return [problem for daemon in RECEIPTS for problem in await _problems(store, daemon, nodes)]
    finally:
        await store.close()


async def _problems(store: Store, daemon: str, nodes: Sequence[str]) -> list[str]:
    receipts = {name: await store.get(keys.receipt(name, daemon)) for name in nodes}
    told = {name: Receipt.FromString(item.value).problems for name, item in receipts.items() if item}
    return [f"{daemon} on {name}: {problem.text}" for name, problems in told.items() for problem in problems]


async def _in_force(store: Store, daemon: str, nodes: Sequence[str]) -> bool:
    """Whether this daemon of every node says that all there is now is in its kernel."""
    newest = await newest_revisions(store, RECEIPTS[daemon])
    receipts = [await store.get(keys.receipt(name, daemon)) for name in nodes]
    return all(item and not behind(Receipt.FromString(item.value), newest) for item in receipts)


async def _until(condition: Callable[[], Awaitable[bool]], complaint: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not await condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{complaint} (waited {READY_TIMEOUT_S:g} s)")
        await asyncio.sleep(POLL_S)


def _etcd_version(etcd: str) -> str:
    done = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("etcd Version:"):
            return line.partition(":")[2].strip()
    raise NotFound(f"{etcd} --version does not name a version: {done.stdout.strip() or done.stderr.strip()}")
