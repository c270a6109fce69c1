"""Traffic beside a fault: a permitted connection with datagrams, permitted new connections, and forbidden ones, all the time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policyd.policy import ObjectName
from romana.lab.probe import PORT, Answers, Flow, Pod, socket_in
from tests.e2e.policy_world import World

__all__ = ["Attempts", "Seen", "during"]

SETTLE_S = 0.5
"""Before the fault and after it, so that both edges are seen."""


@dataclass
class Attempts:
    """A new TCP connection and a datagram from new ports every `PERIOD_S`, each given `PATIENCE_S` for its answer."""

    source: Pod
    target: Pod
    tried: int = 0
    answered: list[float] = field(default_factory=list)
    """When those began that were answered, monotonic."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    PERIOD_S = 0.02
    PATIENCE_S = 0.9  # less than the second after which a SYN is sent again (TCP_TIMEOUT_INIT): one that is lost counts

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.target.name}: {len(self.answered)} of {self.tried} answered"

    @property
    def unanswered(self) -> int:
        """How many got no answer."""
        return self.tried - len(self.answered)

    async def go_on(self) -> None:
        """Until cancelled; then waits for those that are under way."""
        try:
            while True:
                for attempt in (self._connect, self._ask):
                    self.tried += 1
                    task = asyncio.create_task(attempt(time.monotonic()))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(self.PERIOD_S)
        finally:
            await asyncio.gather(*self._tasks)

    async def _connect(self, began: float) -> None:
        client = socket_in(self.source.netns, socket.SOCK_STREAM)
        with contextlib.closing(client), contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(client, (self.target.ip, PORT))
            self.answered.append(began)

    async def _ask(self, began: float) -> None:
        client = socket_in(self.source.netns, socket.SOCK_DGRAM)
        with contextlib.closing(client), contextlib.suppress(OSError, TimeoutError):
            client.connect((self.target.ip, PORT))
            async with asyncio.timeout(self.PATIENCE_S):
                await asyncio.get_running_loop().sock_sendall(client, b"?")
                await asyncio.get_running_loop().sock_recv(client, 64)
            self.answered.append(began)


@dataclass
class Seen:
    """What became of it all."""

    flow: Flow
    fresh: Attempts
    forbidden: list[Attempts]

    @property
    def leaked(self) -> list[str]:
        """Forbidden attempts that were answered."""
        return [str(one) for one in self.forbidden if one.answered]

    @property
    def lost(self) -> list[str]:
        """What permitted traffic lost."""
        found = [f"connection broken: {self.flow.broken}"] if self.flow.broken else []
        found += [f"{self.flow.lost} datagrams of {self.flow.sent}"] if self.flow.lost else []
        return found + ([str(self.fresh)] if self.fresh.unanswered else [])

    def window_s(self, attempts: Sequence[Attempts]) -> float:
        """From the first to the last forbidden attempt that was answered."""
        times = [moment for one in attempts for moment in one.answered]
        return max(times) - min(times) if times else 0.0


async def during(
    world: World, permitted: tuple[ObjectName, ObjectName], forbidden: Sequence[tuple[ObjectName, ObjectName]],
    work: Callable[[], Awaitable[object]],
) -> Seen:  # fmt: skip
    """Do the work while all that goes on; every pod answers on port 80."""
    pods = {name: Pod(str(name), Path(one.record.netns), str(one.ip)) for name, one in world.attached.items()}
    source, target = (pods[name] for name in permitted)
    seen = Seen(Flow(source, target), Attempts(source, target), [Attempts(pods[a], pods[b]) for a, b in forbidden])
    answers = Answers()
    try:
        await answers.start(list(pods.values()))
        seen.flow.start()
        tasks = [asyncio.create_task(one.go_on()) for one in (seen.fresh, *seen.forbidden)]
        await asyncio.sleep(SETTLE_S)
        await work()
        await asyncio.sleep(SETTLE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await seen.flow.stop()
    finally:
        await answers.stop()
    assert min(one.tried for one in (seen.fresh, *seen.forbidden)) > 0
    assert seen.flow.asked > 0
    return seen
