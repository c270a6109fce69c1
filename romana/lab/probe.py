"""Real packets between pods, from one process: the sockets are made inside the pods' network namespaces and used from here.

`Answers` gives each pod a TCP and a UDP service that say who answers and whom they see; `reach` asks them once; `Flow` keeps
asking and counts what is lost.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from romana.netlink.netns import call_in

__all__ = ["Answers", "Flow", "Pod", "matrix", "reach"]

PORT = 80
ASK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod to probe: its name, the path of its network namespace, its address."""

    name: str
    netns: Path
    ip: str


def socket_in(netns: Path, kind: socket.SocketKind, ip: str = "0.0.0.0") -> socket.socket:  # noqa: S104 - names a family
    """A non-blocking socket, of the family of `ip`, that lives in that network namespace (man 7 network_namespaces)."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        made = call_in(fd, lambda: socket.socket(family, kind))
    finally:
        os.close(fd)
    made.setblocking(False)
    return made


class Answers:
    """Services on port 80 of every pod: `<name> <address that it sees>` for each connection and each datagram."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self, pods: Sequence[Pod]) -> None:
        """Listen in every pod."""
        for pod in pods:
            anywhere = "::" if ":" in pod.ip else "0.0.0.0"  # noqa: S104 - inside the pod, where its address is the only one
            listener = socket_in(pod.netns, socket.SOCK_STREAM, pod.ip)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((anywhere, PORT))
            self._servers.append(await asyncio.start_server(partial(self._answer, pod.name), sock=listener))
            datagrams = socket_in(pod.netns, socket.SOCK_DGRAM, pod.ip)
            datagrams.bind((anywhere, PORT))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(_Echo, sock=datagrams)
            self._transports.append(transport)

    async def stop(self) -> None:
        """Close everything."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for writer in tuple(self._connections):
            writer.transport.abort()  # also of a connection that policy cut, whose other end never says goodbye
        await asyncio.sleep(0)

    async def _answer(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                seen = writer.get_extra_info("peername")[0]
                while line := await reader.readline():
                    writer.write(f"{name} {seen} ".encode() + line)
                    await writer.drain()
        finally:
            writer.close()
            self._connections.discard(writer)


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: until Python 3.12 asyncio's own datagram transport is no subclass of this one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def reach(source: Pod, target: Pod) -> bool:
    """True when a new TCP connection gets the target's own answer, and the target sees the source's own address: no NAT."""
    return await _ask(socket_in(source.netns, socket.SOCK_STREAM, source.ip), source, target)


async def matrix(pods: Sequence[Pod]) -> Mapping[tuple[str, str], bool]:
    """`reach` for every ordered pair of different pods."""
    pairs = [(source, target) for source in pods for target in pods if source != target]
    # All sockets first: making them holds the loop up, and on a busy machine the first pair's time would run out meanwhile.
    clients = [socket_in(source.netns, socket.SOCK_STREAM, source.ip) for source, _ in pairs]
    results = await asyncio.gather(*(_ask(client, *pair) for client, pair in zip(clients, pairs, strict=True)))
    return {(source.name, target.name): ok for (source, target), ok in zip(pairs, results, strict=True)}


async def _ask(client: socket.socket, source: Pod, target: Pod) -> bool:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            await loop.sock_connect(client, (target.ip, PORT))
            await loop.sock_sendall(client, b"?\n")
            answer = await loop.sock_recv(client, 200)
    except (OSError, TimeoutError):
        return False
    finally:
        client.close()
    return answer == f"{target.name} {source.ip} ?\n".encode()


@dataclass
class Flow:
    """A TCP connection and a stream of datagrams between two pods, kept up until `stop`; counts what is lost.

    Datagrams go to the same pod, or to `datagrams_to`.

    The connection asks again as soon as it was answered (`asked`, the longest wait in `worst_ms`); datagrams go out every
    `PERIOD_S`, and are lost when nothing has come back for a second.
    """

    source: Pod
    target: Pod
    datagrams_to: Pod | None = None
    sent: int = 0
    asked: int = 0
    worst_ms: float = 0.0
    broken: str = ""
    _came_back: set[int] = field(default_factory=set)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    PERIOD_S = 0.005
    TURN_S = 0.05
    QUIET_TURNS = 20

    @property
    def lost(self) -> int:
        """Datagrams that did not come back."""
        return self.sent - len(self._came_back)

    def missing(self, before: int) -> list[int]:
        """Those of the first `before` datagrams that did not come back yet."""
        return [number for number in range(before) if number not in self._came_back]

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._connection()), asyncio.create_task(self._datagrams())]

    async def stop(self) -> None:
        """End, and wait for what is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self) -> None:
        loop = asyncio.get_running_loop()
        client = socket_in(self.source.netns, socket.SOCK_STREAM, self.source.ip)
        try:
            await loop.sock_connect(client, (self.target.ip, PORT))
            while True:
                began = time.monotonic()
                await loop.sock_sendall(client, b"?\n")
                if not await loop.sock_recv(client, 200):
                    self.broken = "the other end closed the connection"
                    return
                self.asked += 1
                self.worst_ms = max(self.worst_ms, (time.monotonic() - began) * 1000)
                await asyncio.sleep(self.PERIOD_S)
        except OSError as err:
            self.broken = str(err)
        finally:
            client.close()

    async def _datagrams(self) -> None:
        loop = asyncio.get_running_loop()
        client = socket_in(self.source.netns, socket.SOCK_DGRAM, self.source.ip)
        client.connect(((self.datagrams_to or self.target).ip, PORT))
        listening = asyncio.create_task(self._listen(client))
        try:
            while True:
                with contextlib.suppress(OSError):  # an ICMP error of an earlier datagram: that one counts as lost
                    await loop.sock_sendall(client, self.sent.to_bytes(8, "big"))
                self.sent += 1
                await asyncio.sleep(self.PERIOD_S)
        finally:
            await self._quiet()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            client.close()

    async def _quiet(self) -> None:
        """Return when all came back, or nothing has for a second.

        Counted in turns of the loop, each of which reads what is there: a process that the machine held up for a second must not
        take what arrived meanwhile for lost.
        """
        quiet = 0
        while self.lost and quiet < self.QUIET_TURNS:
            before = self.lost
            await asyncio.sleep(self.TURN_S)
            quiet = quiet + 1 if self.lost == before else 0

    async def _listen(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                self._came_back.add(int.from_bytes(await loop.sock_recv(client, 64), "big"))
