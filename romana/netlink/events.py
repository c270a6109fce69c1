"""What the kernel tells by itself: changes of interfaces, routes and neighbours, by anybody. man 7 netlink, man 7 rtnetlink."""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator

from romana.errors import Unavailable
from romana.netlink.wire import Reply, parse_replies

__all__ = ["IPV4_ROUTE", "IPV6_ROUTE", "LINK", "NEIGH", "watch"]

LINK, NEIGH, IPV4_ROUTE, IPV6_ROUTE = 0x1, 0x4, 0x40, 0x400  # RTMGRP_*, linux/rtnetlink.h
RECEIVE_BYTES = 65536  # the kernel never sends a longer message to a listener (NLMSG_GOODSIZE is at most 8 KiB)


async def watch(groups: int) -> AsyncGenerator[list[Reply] | None, None]:
    """Yields None once it is subscribed, and whenever events were lost: read everything anew. Else the events, as they come."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        sock.bind((0, groups))
        yield None
        while True:
            try:
                yield list(parse_replies(await loop.sock_recv(sock, RECEIVE_BYTES)))
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise Unavailable(f"netlink events could not be read: {err}") from err
                yield None
