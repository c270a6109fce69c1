"""Reads rtnetlink messages: routes of a dump, and which events concern us. Pure.

Written by hand because a dump of 20,000 routes is read at every sync: pyroute2's general decoder takes about ten times as long.
Layouts: man 7 rtnetlink, linux/netlink.h, linux/rtnetlink.h, linux/if_link.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from romana.names import HOST_INTERFACE_PREFIX, ROUTE_PROTOCOL_AGENT
from routed.model import Address, Installed, Network

__all__ = ["RTM_NEWROUTE", "KernelRoute", "concerns_us", "parse_route"]

RTM_NEWLINK, RTM_DELLINK, RTM_NEWROUTE, RTM_DELROUTE = 16, 17, 24, 25

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_IFINFOMSG = struct.Struct("=BxHiII")
_RTATTR = struct.Struct("=HH")  # length, type

AF_INET6 = 10
RT_TABLE_LOCAL = 255
IP6_RT_PRIO_USER = 1024  # linux/ipv6_route.h: the metric of an IPv6 route made without one
RTM_F_CLONED = 0x200  # a cached entry, no route
RTNH_F_ONLINK = 4
RTA_SRC, RTA_DST, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 2, 1, 5, 6, 15
NLA_TYPE_MASK = 0x3FFF
IFLA_IFNAME = 3

# What a route of ours never has: RTA_SRC, IIF, PREFSRC, METRICS, MULTIPATH, VIA, NEWDST, ENCAP, NH_ID.
_NEVER_OURS = frozenset({RTA_SRC, 3, 7, 8, 9, 18, 19, 22, 30})


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route of anybody's, as a dump shows it."""

    route: Installed
    table: int
    protocol: int


def parse_route(data: bytes, offset: int, length: int) -> KernelRoute | None:
    """The route in the message at `offset`; None when it is no IPv4 or IPv6 route (or a cached entry of one)."""
    family, dst_len, _, tos, table, protocol, _, kind, flags = _RTMSG.unpack_from(data, offset + _NLMSGHDR.size)
    if family not in (2, AF_INET6) or flags & RTM_F_CLONED:
        return None
    attributes = dict(_attributes(data, offset + _NLMSGHDR.size + _RTMSG.size, offset + length))
    destination = _network(family, attributes.get(RTA_DST), dst_len)
    route = Installed(
        destination,
        _address(attributes.get(RTA_GATEWAY)),
        _u32(attributes.get(RTA_PRIORITY), IP6_RT_PRIO_USER if family == AF_INET6 else 0),
        tos,
        kind,
        plain=not flags & RTNH_F_ONLINK and _NEVER_OURS.isdisjoint(attributes),
    )
    return KernelRoute(route, _u32(attributes.get(RTA_TABLE), table), protocol)


def concerns_us(data: bytes, own_port: int) -> bool:
    """True when one of these event messages may make our routes wrong, or let in one that failed before.

    Not our own changes, not the agent's routes to its pods, not the coming and going of pods' interfaces, not local addresses.
    A link that goes down takes IPv4 routes away without an event of their own, so links count.
    """
    return any(_message_concerns_us(data, *found, own_port) for found in _messages(data))


def _message_concerns_us(data: bytes, offset: int, length: int, own_port: int) -> bool:
    _, kind, _, _, port = _NLMSGHDR.unpack_from(data, offset)
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        _, _, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(data, offset + _NLMSGHDR.size)
        ignored = protocol == ROUTE_PROTOCOL_AGENT or table == RT_TABLE_LOCAL or flags & RTM_F_CLONED
        return not ignored and port != own_port
    if kind in (RTM_NEWLINK, RTM_DELLINK):
        name = dict(_attributes(data, offset + _NLMSGHDR.size + _IFINFOMSG.size, offset + length)).get(IFLA_IFNAME, b"")
        return not name.startswith(HOST_INTERFACE_PREFIX.encode())
    return False


def _messages(data: bytes) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset + _NLMSGHDR.size <= len(data):
        length = _NLMSGHDR.unpack_from(data, offset)[0]
        if not _NLMSGHDR.size <= length <= len(data) - offset:
            return
        yield offset, length
        offset += _aligned(length)


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    while offset + _RTATTR.size <= end:
        length, kind = _RTATTR.unpack_from(data, offset)
        if not _RTATTR.size <= length <= end - offset:
            return
        yield kind & NLA_TYPE_MASK, data[offset + _RTATTR.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN, RTA_ALIGN


def _network(family: int, address: bytes | None, prefix_length: int) -> Network:
    number = int.from_bytes(address or b"")
    return IPv6Network((number, prefix_length)) if family == AF_INET6 else IPv4Network((number, prefix_length))


def _address(packed: bytes | None) -> Address | None:
    if packed is None:
        return None
    return IPv6Address(packed) if len(packed) == 16 else IPv4Address(packed)


def _u32(packed: bytes | None, default: int) -> int:
    return default if packed is None else int(struct.unpack("=I", packed)[0])
