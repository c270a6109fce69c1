"""The demo's chapter on policy: applied and deleted by the command line, seen in packets and in connections that were open."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from romana.errors import Unavailable
from romana.lab.probe import Flow, Pod
from romana.lab.spec import LabSpec

__all__ = ["PolicyStory", "connection_words", "drawn", "everybody", "only_frontend_to_backend"]

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pol1}
spec:
  podSelector: {matchLabels: {role: backend}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: frontend}}}]
    ports: [{protocol: TCP, port: 80}]
"""

SETTLE_S = 0.2  # what was on its way when the policy came into force has arrived by then
LISTEN_S = 1.0  # long enough for several retransmissions (TCP_RTO_MIN 200 ms) to get through, were they let through


def everybody(_source: str, _target: str) -> bool:
    """The matrix without a policy."""
    return True


def only_frontend_to_backend(source: str, target: str) -> bool:
    """What the policy leaves of the matrix for TCP 80."""
    return target != "backend" or source == "frontend"


class PolicyStory:
    """Two connections to `backend` are open while the policy comes: one that it allows, one that it forbids."""

    def __init__(self, lab: LabSpec, pods: Sequence[Pod], say: Callable[[str], None]) -> None:
        self._lab = lab
        by_name = {pod.name: pod for pod in pods}
        self._allowed = Flow(by_name["frontend"], by_name["backend"], datagrams_to=by_name["other"])
        self._forbidden = Flow(by_name["other"], by_name["backend"], datagrams_to=by_name["frontend"])
        self._say = say

    async def applied(self) -> bool:
        """Apply the policy; True when the forbidden connection stood still from then on and the allowed one went on."""
        for flow in (self._allowed, self._forbidden):
            flow.start()
        await asyncio.sleep(SETTLE_S)
        await self._romana("apply", "-f", "-", "--wait", stdin=POLICY)
        await asyncio.sleep(SETTLE_S)
        before = self._allowed.asked, self._forbidden.asked
        await asyncio.sleep(LISTEN_S)
        went_on, still = self._allowed.asked - before[0], self._forbidden.asked - before[1]
        for flow in (self._allowed, self._forbidden):
            await flow.stop()
        self._say(f"   open connection frontend -> backend: {went_on} answers in the next second")
        self._say(
            f"   open connection other    -> backend: {still} answers in the next second: {'cut' if not still else 'NOT CUT'}"
        )
        return went_on > 0 and still == 0 and not self._allowed.broken

    async def deleted(self) -> None:
        """Delete the policy."""
        await self._romana("delete", "networkpolicy", "pol1", "--wait")

    async def _romana(self, *arguments: str, stdin: str = "") -> None:
        """The command line, as a user calls it."""
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            f"{self._lab.programs}/romana",
            *arguments,
            env={"ROMANA_CONFIG": str(self._lab.config), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin.encode())
        words = output.decode().strip().replace("\n", "; ")
        self._say(f"   romana {' '.join(arguments)}: {words} ({(time.monotonic() - began) * 1000:.0f} ms, whole process)")
        if process.returncode:
            raise Unavailable(f"romana {' '.join(arguments)} ended with {process.returncode}: {words}")


def connection_words(flow: Flow) -> str:
    """What became of a flow's connection."""
    if flow.broken:
        return f"connection broken: {flow.broken}"
    return f"connection still open, {flow.asked} answers, the slowest after {flow.worst_ms:.0f} ms"


def drawn(pods: Sequence[Pod], cells: Mapping[tuple[str, str], bool]) -> str:
    """A matrix for people: rows are sources."""
    width = max(len(pod.name) for pod in pods) + 2
    lines = ["   " + "from \\ to".ljust(width) + "".join(pod.name.ljust(width) for pod in pods)]
    for source in pods:
        marks = ("." if source == target else "✓" if cells[source.name, target.name] else "✗" for target in pods)
        lines.append("   " + source.name.ljust(width) + "".join(mark.ljust(width) for mark in marks))
    return "\n".join(lines)
