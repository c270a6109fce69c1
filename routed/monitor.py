"""Tells when somebody else changed routes or links, so that what is ours is looked at again.

A plain netlink socket: a reader that only asks "does it concern us?" needs no decoder, and pods' interfaces come and go by the
hundred.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable

from romana.errors import Unavailable
from routed.wire import concerns_us

__all__ = ["watch_kernel"]

RTMGRP_LINK, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x1, 0x40, 0x400  # linux/rtnetlink.h
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
RECEIVE_BYTES = 65536  # the kernel never sends a longer message to a listener (NLMSG_GOODSIZE is at most 8 KiB)


async def watch_kernel(own_port: Callable[[], int]) -> AsyncIterator[None]:
    """Yields once it is subscribed (whoever reads the routes after that misses nothing), then whenever something changed.

    `own_port` says which netlink port our own changes come from. Events that were lost (ENOBUFS) count as a change.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        sock.bind((0, GROUPS))
        yield
        while True:
            try:
                data = await loop.sock_recv(sock, RECEIVE_BYTES)
            except OSError as err:
                if err.errno != errno.ENOBUFS:  # man 7 netlink: messages were dropped, read everything again
                    raise Unavailable(f"netlink events could not be read: {err}") from err
                yield
                continue
            if concerns_us(data, own_port()):
                yield
