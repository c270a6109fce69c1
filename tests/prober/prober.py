"""Who reaches whom, by packets: one process, sockets inside the pods' namespaces, thousands of probes a second.

    async with Prober({"a": End(fd_a, ip_a), "b": End(fd_b, ip_b)}) as prober:
        reached = await prober.matrix("TCP", 80)      # {("a", "b"): True, ("b", "a"): False}

Every pod serves every port that is asked for. A probe is a new connection from a new port: TCP is accepted, UDP is echoed, SCTP's
INIT is answered by an INIT ACK. What is not answered in `patience_s` after the last answer does not get through.
"""

import asyncio
import contextlib
import resource
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Self, TypeAlias

from romana.netlink.netns import call_in
from tests.prober import sctp

__all__ = ["End", "Prober", "Protocol"]

Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
Pair: TypeAlias = tuple[str, str]
Family: TypeAlias = Literal[4, 6]

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
LINGER_RESET = struct.pack("ii", 1, 0)  # close with a RST: nothing is left behind
SCTP = 132
AF = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class End:
    """A network namespace and the addresses to reach it by."""

    fd: int
    ipv4: IPv4Address
    ipv6: IPv6Address | None = None

    def address(self, family: Family) -> str:
        """Its address of a family."""
        return str(self.ipv4 if family == 4 else self.ipv6)


class Prober:
    """Servers are opened when a port is first asked for, and closed at the end. Pods may be added and removed meanwhile."""

    def __init__(self, pods: Mapping[str, End], *, patience_s: float = 0.3) -> None:
        self.pods = dict(pods)
        self.patience_s = patience_s
        self._servers: dict[tuple[str, Protocol, int, Family], socket.socket] = {}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft != hard else (soft, hard))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the servers."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def remove(self, pod: str) -> None:
        """Forget a pod."""
        self.pods.pop(pod, None)
        for key in [key for key in self._servers if key[0] == pod]:
            self._servers.pop(key).close()

    async def matrix(
        self, protocol: Protocol, port: int, *, family: Family = 4, pairs: Iterable[Pair] | None = None
    ) -> dict[Pair, bool]:
        """Whether each pod reaches each other one's port; or only these pairs."""
        wanted = list(pairs) if pairs is not None else [(a, b) for a in self.pods for b in self.pods if a != b]
        return await asyncio.to_thread(self._probe, protocol, port, family, wanted)

    async def reaches(self, source: str, destination: str, protocol: Protocol, port: int, *, family: Family = 4) -> bool:
        """One probe."""
        return (await self.matrix(protocol, port, family=family, pairs=[(source, destination)]))[source, destination]

    def _probe(self, protocol: Protocol, port: int, family: Family, pairs: list[Pair]) -> dict[Pair, bool]:
        for pod in {destination for _, destination in pairs}:
            self._serve(pod, protocol, port, family)
        servers = {pod: self._servers[pod, protocol, port, family] for pod in {destination for _, destination in pairs}}
        kinds = {"TCP": _TcpRound, "UDP": _UdpRound, "SCTP": _SctpRound}
        with contextlib.closing(kinds[protocol](self.pods, family, port, servers, pairs)) as attempt:
            return attempt.run(self.patience_s)

    def _serve(self, pod: str, protocol: Protocol, port: int, family: Family) -> None:
        key = (pod, protocol, port, family)
        if key not in self._servers:
            self._servers[key] = call_in(self.pods[pod].fd, lambda: _server(protocol, port, family))


class _Round:
    """All probes of one matrix: sent at once, then answers are gathered until none has come for a while."""

    def __init__(
        self, pods: Mapping[str, End], family: Family, port: int, servers: Mapping[str, socket.socket], pairs: list[Pair]
    ) -> None:
        self.pods, self.family, self.port, self.pairs = pods, family, port, pairs
        self.reached = dict.fromkeys(pairs, False)
        self.by_address = {pods[pod].address(family): pod for pod in {name for pair in pairs for name in pair}}
        self.sockets: list[socket.socket] = []
        self.poll = select.epoll()
        self.on: dict[int, Callable[[], None]] = {}
        for server in servers.values():
            self.watch(server, lambda server=server: self.served(server))  # type: ignore[misc]

    def run(self, patience_s: float) -> dict[Pair, bool]:
        """Send, gather, and tell."""
        self.send()
        quiet_at = time.monotonic() + patience_s
        while not all(self.reached.values()) and (left := quiet_at - time.monotonic()) > 0:
            before = sum(self.reached.values())
            for fd, _ in self.poll.poll(left, 1024):
                self.on[fd]()
            if sum(self.reached.values()) != before:
                quiet_at = time.monotonic() + patience_s
        return self.reached

    def send(self) -> None:
        """Send every probe."""
        raise NotImplementedError

    def served(self, server: socket.socket) -> None:
        """A server has something to do."""
        raise NotImplementedError

    def watch(self, sock: socket.socket, act: Callable[[], None], events: int = select.EPOLLIN) -> None:
        """Call `act` when the socket is ready."""
        self.on[sock.fileno()] = act
        self.poll.register(sock.fileno(), events)

    def sources(self) -> dict[str, list[str]]:
        """Destinations by source."""
        found: dict[str, list[str]] = {}
        for source, destination in self.pairs:
            found.setdefault(source, []).append(destination)
        return found

    def close(self) -> None:
        """Close what this round opened."""
        self.poll.close()
        for sock in self.sockets:
            sock.close()


class _TcpRound(_Round):
    def send(self) -> None:
        for source, destinations in self.sources().items():
            clients = call_in(self.pods[source].fd, lambda wanted=destinations: [_client(self.family) for _ in wanted])  # type: ignore[misc]
            self.sockets += clients
            for client, destination in zip(clients, destinations, strict=True):
                client.connect_ex((self.pods[destination].address(self.family), self.port))
                self.watch(client, lambda c=client, p=(source, destination): self._connected(c, p), select.EPOLLOUT)  # type: ignore[misc]

    def served(self, server: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            accepted.close()

    def _connected(self, client: socket.socket, pair: Pair) -> None:
        self.poll.unregister(client.fileno())
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, 104):  # ECONNRESET: accepted and closed already
            self.reached[pair] = True


class _UdpRound(_Round):
    def send(self) -> None:
        for source, destinations in self.sources().items():
            client = call_in(self.pods[source].fd, lambda: _datagram(self.family))
            self.sockets.append(client)
            self.watch(client, lambda c=client, s=source: self._answered(c, s))  # type: ignore[misc]
            for destination in destinations:
                with contextlib.suppress(OSError):  # an ICMP error of an earlier probe
                    client.sendto(b"probe", (self.pods[destination].address(self.family), self.port))

    def served(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            question, sender = server.recvfrom(64)
            server.sendto(question, sender)

    def _answered(self, client: socket.socket, source: str) -> None:
        with contextlib.suppress(OSError):
            _, sender = client.recvfrom(64)
            pair = (source, self.by_address.get(sender[0], ""))
            if pair in self.reached:
                self.reached[pair] = True


class _SctpRound(_Round):
    def send(self) -> None:
        self.source_port = secrets.randbelow(20_000) + 40_000
        for source, destinations in self.sources().items():
            client = call_in(self.pods[source].fd, lambda: _raw_sctp(self.family))
            self.sockets.append(client)
            self.watch(client, lambda c=client, s=source: self._answered(c, s))  # type: ignore[misc]
            for destination in destinations:
                packet = sctp.build(sctp.INIT, self.source_port, self.port, 0, 0x5EED)
                with contextlib.suppress(OSError):
                    client.sendto(packet, (self.pods[destination].address(self.family), 0))

    def served(self, server: socket.socket) -> None:
        sender, (kind, source, destination, tag) = _receive_sctp(server, self.family)
        if kind == sctp.INIT and destination == self.port:
            with contextlib.suppress(OSError):
                server.sendto(sctp.build(sctp.INIT_ACK, destination, source, tag, 0xACED), (sender, 0))

    def _answered(self, client: socket.socket, source: str) -> None:
        sender, (kind, origin, destination, _) = _receive_sctp(client, self.family)
        pair = (source, self.by_address.get(sender, ""))
        if kind == sctp.INIT_ACK and (origin, destination) == (self.port, self.source_port) and pair in self.reached:
            self.reached[pair] = True


def _server(protocol: Protocol, port: int, family: Family) -> socket.socket:
    if protocol == "SCTP":
        return _raw_sctp(family)
    server = socket.socket(AF[family], socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM)
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    if family == 6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind(("::" if family == 6 else "0.0.0.0", port))  # noqa: S104 - inside a namespace of a test
    if protocol == "TCP":
        server.listen(4096)
    return server


def _client(family: Family) -> socket.socket:
    client = socket.socket(AF[family], socket.SOCK_STREAM)
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    return client


def _datagram(family: Family) -> socket.socket:
    sock = socket.socket(AF[family], socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    return sock


def _raw_sctp(family: Family) -> socket.socket:
    sock = socket.socket(AF[family], socket.SOCK_RAW, SCTP)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    return sock


def _receive_sctp(sock: socket.socket, family: Family) -> tuple[str, tuple[int, int, int, int]]:
    try:
        packet, sender = sock.recvfrom(256)
    except OSError:
        return "", (0, 0, 0, 0)
    at = (packet[0] & 0xF) * 4 if family == 4 else 0  # a raw IPv4 socket sees the IP header (man 7 raw)
    return sender[0], sctp.parse(packet[at:])
