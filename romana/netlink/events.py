"""What the kernel tells by itself: changes of interfaces, routes and neighbours, by anybody. man 7 netlink, man 7 rtnetlink."""

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Sequence

from romana.errors import Unavailable
from romana.netlink.links import RTM_DELLINK, deleted_index
from romana.netlink.wire import AF_UNSPEC, Reply, parse_replies

__all__ = ["IPV4_ROUTE", "IPV6_ROUTE", "LINK", "NEIGH", "LinkGone", "watch"]

LINK, NEIGH, IPV4_ROUTE, IPV6_ROUTE = 0x1, 0x4, 0x40, 0x400  # RTMGRP_*, linux/rtnetlink.h
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
RECEIVE_BYTES = 65536  # the kernel never sends a longer message to a listener (NLMSG_GOODSIZE is at most 8 KiB)


async def watch(groups: int, kinds: Sequence[int] = (), gather_s: float = 0) -> AsyncGenerator[list[Reply] | None, None]:
    """Yields None once it is subscribed, and whenever events were lost: read everything anew. Else the events, as they come.

    With `kinds` only messages of these types. `gather_s`: after the first event of a while, wait so long for more.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        if kinds:
            _accept_only(sock, kinds)
        sock.bind((0, groups))
        yield None
        while True:
            try:
                found = list(parse_replies(await asyncio.get_running_loop().sock_recv(sock, RECEIVE_BYTES)))
                await asyncio.sleep(gather_s)
                found += _waiting(sock)
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise Unavailable(f"netlink events could not be read: {err}") from err
                yield None
            else:
                yield found


def _waiting(sock: socket.socket) -> list[Reply]:
    """Everything that can be read at once."""
    found: list[Reply] = []
    while True:
        try:
            found += parse_replies(sock.recv(RECEIVE_BYTES))
        except BlockingIOError:
            return found


class LinkGone:
    """Hears of every interface that is deleted in the calling thread's network namespace, by whomever. Never blocks."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        _accept_only(self._socket, [RTM_DELLINK])
        self._socket.bind((0, LINK))

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def indexes(self) -> list[int]:
        """Those that were deleted since the last call, by index; some may be missing when there were very many."""
        found: list[int] = []
        while True:
            try:
                blob = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return found
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise Unavailable(f"netlink events could not be read: {err}") from err
                continue
            found += [deleted_index(event) for event in parse_replies(blob) if event.payload[:1] == bytes([AF_UNSPEC])]

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def _accept_only(sock: socket.socket, kinds: Sequence[int]) -> None:
    """Have the kernel drop all messages but those of some types (a classic filter: networking/filter.rst; struct nlmsghdr)."""
    code = [struct.pack("=HBBI", 0x28, 0, 0, 4)]  # ldh [4]: the type
    for place, kind in enumerate(kinds):
        wanted = socket.ntohs(kind)  # a filter reads big-endian, the header is in the machine's order
        code.append(struct.pack("=HBBI", 0x15, len(kinds) - place, 0, wanted))  # jeq: to the last instruction
    code += [struct.pack("=HBBI", 0x06, 0, 0, 0), struct.pack("=HBBI", 0x06, 0, 0, RECEIVE_BYTES)]  # ret nothing; ret all
    program = ctypes.create_string_buffer(b"".join(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(code), ctypes.addressof(program)))
