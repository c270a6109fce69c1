"""Dumps of the kernel's routes by pyroute2's socket, with our own parser (routed.wire) in the place of its decoder."""

import errno
import struct
from collections.abc import AsyncIterator
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_NEWROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from routed.wire import KernelRoute, parse_route

__all__ = ["dump"]


async def dump(ipr: AsyncIPRoute, family: int, table: int) -> AsyncIterator[KernelRoute]:
    """Everybody's routes of a family in a table; the kernel itself leaves other tables out (NETLINK_GET_STRICT_CHK, Linux 4.20).

    A table that does not exist yet has none. Raises NetlinkError, also when the routes changed while they were read.
    """
    message = rtmsg()
    message["family"] = family
    message["attrs"] = [("RTA_TABLE", table)]
    request = NetlinkRequest(ipr, message, msg_type=RTM_GETROUTE, msg_flags=NLM_F_REQUEST | NLM_F_DUMP, parser=_parse)
    await request.send()
    try:
        async for reply in request.response():
            if reply["header"]["flags"] & NLM_F_DUMP_INTR:
                raise NetlinkDumpInterrupted(errno.EINTR, "the routes changed while they were read")
            if reply["route"] is not None:
                yield reply["route"]
    except NetlinkError as err:
        if err.code != errno.ENOENT:  # "FIB table does not exist", inet_dump_fib() in net/ipv4/fib_frontend.c
            raise


def _parse(data: bytes, offset: int, length: int) -> dict[str, Any]:
    """A message as AsyncCoreSocket.get() wants it: a header with `type`, `flags` and `error`."""
    kind, flags = struct.unpack_from("=HH", data, offset + 4)
    header = {"type": kind, "flags": flags, "error": None}
    if kind in (NLMSG_ERROR, NLMSG_DONE):
        header["error"] = _error(data, offset, length)
    return {"header": header, "route": parse_route(data, offset, length) if kind == RTM_NEWROUTE else None}


def _error(data: bytes, offset: int, length: int) -> NetlinkError | None:
    """The error of an NLMSG_ERROR, or of an NLMSG_DONE that ends a dump early; both carry -errno after the header."""
    code = struct.unpack_from("=i", data, offset + 16)[0] if length >= 20 else 0
    return NetlinkError(-code) if code < 0 else None
