"""`./dev demo`: the main job on one machine, every claim measured with packets, everything taken down again.

lab up -> pods by CNI -> matrix -> policy -> matrix -> kill -9 of daemons -> matrix -> policy deleted -> matrix -> lab down
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from romana.errors import RomanaError, Unavailable
from romana.lab import processes, record
from romana.lab.demo_policy import PolicyStory, connection_words, drawn, everybody, only_frontend_to_backend
from romana.lab.down import take_down
from romana.lab.plan import plan_lab
from romana.lab.pods import PodRecord, add_pod
from romana.lab.pods import delete as delete_pod
from romana.lab.probe import Answers, Flow, Pod, matrix
from romana.lab.progress import to_the_end
from romana.lab.spec import LabSpec
from romana.lab.up import bring_up, find_programs
from romana.objects.models import PodObject
from romana.rpc.client import Client
from romana.v1.ipam_pb2 import LOOKUP_STATE_COOLING, LOOKUP_STATE_FREE, LOOKUP_STATE_HELD, LookupRequest, LookupState
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["run_demo"]

Say = Callable[[str], None]

PREFIX = "demo-"
PODS = (("frontend", "node-1"), ("backend", "node-2"), ("other", "node-3"), ("neighbour", "node-1"))
VICTIMS = ("policyd@node-2", "routed@node-1", "agent@node-1", "ipamd", "etcd")
RESTART_TIMEOUT_S = 20.0

NEXT = """
What to try next:
  .venv/bin/romana lab up                                # a lab that stays
  .venv/bin/romana lab pod add web --node node-2 --label role=backend && .venv/bin/romana lab pod add cli
  .venv/bin/romana lab pod exec cli -- ip route          # 169.254.1.1, and no bridge anywhere
  export ROMANA_CONFIG=/run/romana-lab/lab/config.toml
  .venv/bin/romana status; .venv/bin/romana topology show; .venv/bin/romana block list
  .venv/bin/romana apply --wait -f POLICY.yaml; .venv/bin/romana policy matrix; .venv/bin/romana policy why cli web:80
  .venv/bin/romana lab down"""


async def run_demo(say: Say, *, keep: bool) -> bool:
    """Run the whole story; True when every packet did what it should. Leaves nothing behind unless told to."""
    began = time.monotonic()
    await asyncio.to_thread(_clear_dead_demos, say)
    programs, etcd = find_programs()
    plan = plan_lab(f"{PREFIX}{os.getpid()}", None, [], None, programs=programs, etcd=etcd)
    ok = False
    try:
        say(f"1. A cluster on this machine: a ToR router, three nodes, real etcd and daemons (lab {plan.lab.name})")
        await bring_up(plan.lab, plan.topology, say)
        ok = await _story(plan.lab, say)
    except RomanaError as err:
        say(f"the demo failed: {err}")
        say(await asyncio.to_thread(_last_words, plan.lab))
    finally:
        if keep:
            say(f"the lab stays: romana lab status --name {plan.lab.name}; remove it by: romana lab down --name {plan.lab.name}")
        else:
            await to_the_end(take_down, plan.lab.name)
            say("   everything is taken down")
    say(f"\n{'Every packet did what it should' if ok else 'FAILED'}, in {time.monotonic() - began:.1f} s.")
    if ok:
        say(NEXT)
    return ok


async def _story(lab: LabSpec, say: Say) -> bool:
    say("2. Pods by the real CNI program, as a kubelet would")
    made = []
    for name, node in PODS:
        began = time.monotonic()
        made.append(await add_pod(lab, PodObject("default", name, {"role": name}, node=node)))
        say(f"   {name:<10} on {node}: {made[-1].ips[0]:<12} ({(time.monotonic() - began) * 1000:.0f} ms)")
    pods = [Pod(pod.name, Path(pod.netns), pod.ips[0]) for pod in made]
    answers = Answers()
    try:
        await answers.start(pods)
        say("3. Who reaches whom: a new TCP connection to port 80 for every pair, and the address that the other side sees")
        right = await _probe(pods, everybody, say)
        story = PolicyStory(lab, pods, say)
        say("4. The blog's policy: only role=frontend may reach role=backend, TCP 80; two connections are open meanwhile")
        right &= await story.applied()
        right &= await _probe(pods, only_frontend_to_backend, say)
        say("5. kill -9 of every kind of daemon under the allowed connection, with a datagram every 5 ms beside it")
        right &= await _killings(lab, pods, say)
        right &= await _probe(pods, only_frontend_to_backend, say)
        say("6. The policy deleted, and the matrix again; then a pod deleted: its address is released and rests")
        await story.deleted()
        right &= await _probe(pods, everybody, say)
    finally:
        await answers.stop()
    return right & await _deletion(lab, made[-1], say)


async def _probe(pods: Sequence[Pod], expected: Callable[[str, str], bool], say: Say) -> bool:
    """Draw the matrix as measured; True when every cell is as expected."""
    cells = await matrix(pods)
    say(drawn(pods, cells))
    wrong = [f"{source} -> {target}" for (source, target), reached in cells.items() if reached is not expected(source, target)]
    if wrong:
        say(f"   WRONG: {', '.join(wrong)}")
    return not wrong


async def _killings(lab: LabSpec, pods: Sequence[Pod], say: Say) -> bool:
    flow = Flow(pods[0], pods[1], datagrams_to=pods[2])
    flow.start()
    await asyncio.sleep(0.3)
    for victim in VICTIMS:
        before = processes.read_one(lab, victim)
        if before is None:
            raise Unavailable(f"{victim} does not run")
        began = time.monotonic()
        before.signal(signal.SIGKILL)
        after = await _restarted(lab, victim, before)
        say(f"   {victim:<14} pid {before.pid} killed, pid {after.pid} runs after {time.monotonic() - began:.2f} s")
    await asyncio.sleep(1.0)
    await flow.stop()
    say(f"   {connection_words(flow)}; datagrams: {flow.sent} sent, {flow.lost} lost")
    return not flow.broken and flow.lost == 0 and flow.sent > 0


async def _restarted(lab: LabSpec, victim: str, before: processes.Running) -> processes.Running:
    deadline = time.monotonic() + RESTART_TIMEOUT_S
    while time.monotonic() < deadline:
        running = processes.read_one(lab, victim)
        if running and running != before:
            return running
        await asyncio.sleep(0.02)
    raise Unavailable(f"{victim} was not started again within {RESTART_TIMEOUT_S:g} s; see {lab.run}/log")


async def _deletion(lab: LabSpec, pod: PodRecord, say: Say) -> bool:
    """Delete a pod; True when its address is released in etcd and its namespace and route are gone."""
    began = time.monotonic()
    await delete_pod(lab, pod)
    request = LookupRequest(ip=pod.ips[0])
    async with Client([lab.ipam_endpoint]) as client:
        while True:  # a DEL answers also while ipamd starts again; the release follows then
            found = await client.call(lambda channel, left: IpamStub(channel).Lookup(request, timeout=left), RESTART_TIMEOUT_S)
            if found.state != LOOKUP_STATE_HELD or time.monotonic() - began > RESTART_TIMEOUT_S:
                break
            await asyncio.sleep(0.05)
    routes = await asyncio.to_thread(_routes_of, lab.netns(pod.node))
    gone = not await asyncio.to_thread(Path(pod.netns).exists)
    say(f"   {pod.name}: {pod.ips[0]} is {LookupState.Name(found.state).removeprefix('LOOKUP_STATE_').lower()}")
    released = found.state in {LOOKUP_STATE_COOLING, LOOKUP_STATE_FREE}  # the latter where this took longer than the cool-down
    return gone and released and f"{pod.ips[0]} " not in routes


def _routes_of(netns: str) -> str:
    return subprocess.run(["ip", "-n", netns, "route"], capture_output=True, text=True, check=True).stdout


def _clear_dead_demos(say: Say) -> None:
    """Remove labs of demos whose process is gone: their name holds its pid."""
    for name in record.names():
        pid = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            say(f"removing {name}, left behind by a demo that was killed")
            with record.locked(name):
                take_down(name)


def _last_words(lab: LabSpec) -> str:
    """The end of every daemon's log."""
    logs = sorted((lab.run / "log").glob("*.log"))
    return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-5:]) for path in logs)
