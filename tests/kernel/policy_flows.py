"""Traffic for tests of policy: UDP and TCP flows that are counted where they arrive, and forged packets. IPv4 unless said."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from romana.netlink.nfnetlink import NetfilterConnection
from romana.netlink.wire import Message
from tests.kernel.policy_node import Node, Place

__all__ = ["TcpFlow", "UdpFlow", "forge_icmp_error", "forge_udp", "forget_connections"]

SETTLE_S = 0.05
"""Veth pairs deliver within the send; this is for a busy machine."""


class UdpFlow:
    """Datagrams between two places from fixed ports."""

    def __init__(self, client: Place, server: Place, port: int, client_port: int = 40_000) -> None:
        self.client, self.server, self.port, self.client_port = client, server, port, client_port
        self._near = client.call(lambda: _udp(client_port))
        self._far = server.call(lambda: _udp(port))

    def request(self, times: int = 1) -> int:
        """Send this many to the server; how many arrive."""
        return self._count(self._near, (str(self.server.ipv4), self.port), self._far, times)

    def answer(self, times: int = 1, to: tuple[str, int] | None = None) -> int:
        """Send this many back; how many arrive."""
        return self._count(self._far, to or (str(self.client.ipv4), self.client_port), self._near, times)

    def establish(self) -> None:
        """There and back."""
        assert (self.request(), self.answer()) == (1, 1)

    def arrived(self) -> int:
        """How many wait at the server, whoever sent them."""
        time.sleep(SETTLE_S)
        return len(list(_waiting(self._far)))

    def request_by_service(self, address: str, port: int) -> tuple[str, int]:
        """Send one datagram to a service; whom the server saw as its sender."""
        self._near.sendto(b"x", (address, port))
        self._far.settimeout(2)
        sender = self._far.recvfrom(64)[1]
        self._far.setblocking(False)
        return str(sender[0]), int(sender[1])

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @staticmethod
    def _count(sender: socket.socket, to: tuple[str, int], receiver: socket.socket, times: int) -> int:
        list(_waiting(receiver))
        for _ in range(times):
            with contextlib.suppress(OSError):  # an ICMP error that came back
                sender.sendto(b"x", to)
        time.sleep(SETTLE_S)
        return len(list(_waiting(receiver)))


class TcpFlow:
    """One connection, bytes counted."""

    def __init__(self, client: Place, server: Place, port: int) -> None:
        listener = server.call(lambda: socket.create_server(("", port)))
        with listener:
            self.near = client.call(lambda: socket.create_connection((str(server.ipv4), port), timeout=2))
            self.far, _ = listener.accept()
        for end in (self.near, self.far):
            end.setblocking(False)

    def request(self) -> bool:
        """Whether a byte from the client arrives."""
        return _passes(self.near, self.far)

    def answer(self) -> bool:
        """Whether a byte from the server arrives."""
        return _passes(self.far, self.near)

    def close(self) -> None:
        """Close both ends, without a word that would wait for an answer."""
        for end in (self.near, self.far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def forge_udp(sender: Place, source: tuple[str, int], destination: tuple[str, int], times: int = 1) -> None:
    """UDP datagrams with whatever source, sent from a place."""
    body = struct.pack("!HHHH", source[1], destination[1], 9, 0) + b"x"
    packet = _ip_header(source[0], destination[0], socket.IPPROTO_UDP, len(body)) + body
    with sender.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
        for _ in range(times):
            raw.sendto(packet, (destination[0], 0))


def forge_icmp_error(sender: Place, to: str, source: tuple[str, int], destination: tuple[str, int]) -> None:
    """An ICMP "port unreachable" about a UDP datagram that went from source to destination (RFC 792)."""
    quoted = _ip_header(source[0], destination[0], socket.IPPROTO_UDP, 8) + struct.pack("!HHHH", source[1], destination[1], 8, 0)
    message = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
    message = message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
    with sender.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as raw:
        raw.sendto(message, (to, 0))


def forget_connections(node: Node) -> None:
    """Empty the node's connection table (IPCTNL_MSG_CT_DELETE without a tuple, linux/netfilter/nfnetlink_conntrack.h)."""
    with node.call(NetfilterConnection) as connection:
        connection.run(Message("forget all connections", 1 << 8 | 2, 0, bytes(4)))


def _udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.setblocking(False)
    return sock


def _waiting(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield sock.recv(64)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error
            continue


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    sender.send(b"x")
    deadline = time.monotonic() + 0.7  # one retransmission (RFC 6298: at least 200 ms in Linux)
    while time.monotonic() < deadline:
        try:
            return bool(receiver.recv(64))
        except BlockingIOError:
            time.sleep(0.005)
    return False


def _ip_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, protocol, 0) + addresses
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:]


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2])) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
