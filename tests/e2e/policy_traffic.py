"""Traffic beside a fault: a permitted connection with datagrams, permitted new connections, and forbidden ones, all the time."""

import asyncio
import contextlib
import socket
import struct
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
TURN_S = 0.1
QUIET_TURNS = 20
FORBIDDEN_PATIENCE_S = 0.9
"""Less than the second after which a SYN is sent again (TCP_TIMEOUT_INIT): that would be another attempt."""
TOTAL_RETRANS = struct.Struct("100xI")
"""The field tcpi_total_retrans of struct tcp_info (include/uapi/linux/tcp.h)."""


def _sent_again(client: socket.socket) -> bool:
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS.size)
    return bool(TOTAL_RETRANS.unpack(info)[0])


@dataclass
class Attempts:
    """A new TCP connection and a datagram from new ports every `PERIOD_S`, each answered within `patience_s`, or before the end.

    An answer counts only if nothing was sent twice for it: a SYN that is lost counts although its repetition gets through. So
    where every attempt has to be answered, patience needs no limit, and what is late on a busy machine is not taken for lost.
    """

    source: Pod
    target: Pod
    patience_s: float | None
    tried: int = 0
    answered: list[float] = field(default_factory=list)
    """When those began that were answered, monotonic."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    PERIOD_S = 0.02

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.target.name}: {len(self.answered)} of {self.tried} answered"

    @property
    def unanswered(self) -> int:
        """How many got no answer."""
        return self.tried - len(self.answered)

    async def go_on(self) -> None:
        """Until cancelled; then waits for those that are under way, unless nothing more comes."""
        try:
            while True:
                for attempt in (self._connect, self._ask):
                    self.tried += 1
                    task = asyncio.create_task(attempt())
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(self.PERIOD_S)
        finally:
            await self._end()

    async def _end(self) -> None:
        quiet = 0
        while self._tasks and quiet < QUIET_TURNS:  # turns of the loop: time may pass without one when the machine holds it up
            before = len(self._tasks)
            await asyncio.sleep(TURN_S)
            quiet = quiet + 1 if len(self._tasks) == before else 0
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> None:
        client = socket_in(self.source.netns, socket.SOCK_STREAM)
        with contextlib.closing(client), contextlib.suppress(OSError, TimeoutError):
            began = time.monotonic()
            async with asyncio.timeout(self.patience_s):
                await asyncio.get_running_loop().sock_connect(client, (self.target.ip, PORT))
            if not _sent_again(client):
                self.answered.append(began)

    async def _ask(self) -> None:
        client = socket_in(self.source.netns, socket.SOCK_DGRAM)
        with contextlib.closing(client), contextlib.suppress(OSError, TimeoutError):
            client.connect((self.target.ip, PORT))
            began = time.monotonic()
            async with asyncio.timeout(self.patience_s):
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
    seen = Seen(
        Flow(source, target),
        Attempts(source, target, None),
        [Attempts(pods[a], pods[b], FORBIDDEN_PATIENCE_S) for a, b in forbidden],
    )
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
