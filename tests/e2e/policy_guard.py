"""The scene of the fault tests: four pods on three nodes, and only shop/front may reach shop/back."""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable

from policyd.policy import ObjectName
from romana.lab import processes
from romana.objects.kinds import NETWORK_POLICY
from romana.objects.manifest import Identity
from tests import cases
from tests.e2e.policy_own_cases import OWN_CASES, network_policy
from tests.e2e.policy_traffic import Seen, during
from tests.e2e.policy_world import Stage, World

FRONT, BACK = ObjectName("shop", "front"), ObjectName("shop", "back")
PROBE, LOG = ObjectName("ops", "probe"), ObjectName("ops", "log")
FORBIDDEN = [(PROBE, BACK), (LOG, BACK)]
"""From another node, and from the node of shop/back."""

FROM_FRONTENDS = "ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}]}]"
POLL_S = 0.02


async def guard(world: World) -> None:
    """Set the scene."""
    wanted = cases.Live.of(OWN_CASES[0])
    wanted.apply({"create_policy": network_policy("backend", FROM_FRONTENDS, name="guard")})
    await world.reach(wanted)
    await world.settle()


def seen_during(live: Stage, work: Callable[[], Awaitable[object]]) -> Seen:
    """Permitted and forbidden traffic beside the work."""
    return live.run(during(live.world, (FRONT, BACK), FORBIDDEN, work))


def node_of(world: World, name: ObjectName) -> str:
    """Where a pod runs."""
    return world.attached[name].record.node


def policyd(world: World, node: str) -> processes.Running:
    """The policy daemon of a node."""
    found = processes.read_one(world.lab, f"policyd@{node}")
    assert found is not None
    return found


async def reborn(world: World, node: str, before: processes.Running) -> None:
    """Return when the supervisor has started it again."""

    async def runs() -> bool:
        return processes.read_one(world.lab, f"policyd@{node}") not in {None, before}

    await until(runs)


async def enforced_anew(world: World) -> float:
    """Seconds until every node has acknowledged a policy that is written now."""
    began = time.monotonic()
    await world.apply(network_policy("nobody", "ingress: []", namespace="ops", name="anew"))
    await world.settle()
    took_s = time.monotonic() - began
    await world.delete(Identity(NETWORK_POLICY, "ops", "anew"))
    await world.settle()
    return took_s


async def on_node(world: World, node: str, *command: str) -> str:
    """What a program prints that runs in a node's network namespace."""
    inside = ["nsenter", f"--net=/run/netns/{world.lab.netns(node)}", "--", *command]
    done = await asyncio.to_thread(subprocess.run, inside, check=True, capture_output=True, text=True)
    return done.stdout


async def reaches(world: World, source: ObjectName, target: ObjectName, port: int = 81) -> bool:
    """One probe; not on port 80, where traffic of the fault tests is answered."""
    return await world.prober.reaches(str(source), str(target), "TCP", port)


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 60.0) -> float:
    """Seconds until it holds; raises TimeoutError when it never does."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while True:
            if await condition():
                return time.monotonic() - began
            await asyncio.sleep(POLL_S)
