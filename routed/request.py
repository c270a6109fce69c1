"""Requests that change one route, by pyroute2's socket, with our own flags: `AsyncIPRoute.route()` has none for "prepend"."""

from socket import AF_INET, AF_INET6

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import RTM_DELROUTE, RTM_NEWROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.model import Installed

__all__ = ["ADD", "PREPEND", "REPLACE", "delete_route", "put_route"]

ADD = NLM_F_CREATE | NLM_F_EXCL
"""EEXIST when there is any route in its slot."""

PREPEND = NLM_F_CREATE
"""IPv4: before all others in its slot, EEXIST only when the very same is there (fib_table_insert, net/ipv4/fib_trie.c).

IPv6 must not be asked: the new route comes behind the others, or becomes one more next hop of a foreign one.
"""

REPLACE = NLM_F_CREATE | NLM_F_REPLACE
"""Takes the place of the first in its slot, whoever's that is."""

RT_SCOPE_UNIVERSE = 0  # linux/rtnetlink.h
RT_SCOPE_NOWHERE = 255  # in a delete: any scope (fib_table_delete(), net/ipv4/fib_trie.c)


async def put_route(ipr: AsyncIPRoute, table: int, route: Installed, flags: int) -> None:
    """Make a route of our protocol; raises NetlinkError."""
    await _ask(ipr, _message(table, route, RT_SCOPE_UNIVERSE), RTM_NEWROUTE, flags)


async def delete_route(ipr: AsyncIPRoute, table: int, route: Installed) -> None:
    """Delete the first route of our protocol like this one; raises NetlinkError. A foreign one is never like it."""
    await _ask(ipr, _message(table, route, RT_SCOPE_NOWHERE), RTM_DELROUTE, 0)


async def _ask(ipr: AsyncIPRoute, message: rtmsg, kind: int, flags: int) -> None:
    request = NetlinkRequest(ipr, message, msg_type=kind, msg_flags=NLM_F_REQUEST | NLM_F_ACK | flags)
    await request.send()
    async for _ in request.response():
        pass


def _message(table: int, route: Installed, scope: int) -> rtmsg:
    message = rtmsg()
    message["family"] = AF_INET if route.destination.version == 4 else AF_INET6
    message["dst_len"] = route.destination.prefixlen
    message["tos"] = route.tos
    message["proto"] = ROUTE_PROTOCOL_ROUTED
    message["scope"] = scope
    message["type"] = route.type
    attributes = [("RTA_DST", str(route.destination.network_address)), ("RTA_PRIORITY", route.metric), ("RTA_TABLE", table)]
    if route.next_hop is not None:
        attributes.append(("RTA_GATEWAY", str(route.next_hop)))
    message["attrs"] = attributes
    return message
