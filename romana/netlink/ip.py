"""Messages about addresses, routes and neighbours, and these read back. Pure. Both families.

Sources: man 7 rtnetlink, linux/rtnetlink.h, linux/if_addr.h, linux/neighbour.h.
"""

import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from romana.netlink.links import parse_mac
from romana.netlink.wire import (
    AF_INET,
    AF_INET6,
    CREATE,
    DUMP,
    EXCL,
    REPLACE,
    Message,
    Reply,
    attribute,
    parse_attributes,
    u32,
)

__all__ = [
    "PERMANENT",
    "SCOPE_LINK",
    "IPAddress",
    "IPInterface",
    "IPNetwork",
    "Neighbour",
    "Route",
    "add_address",
    "add_neighbour",
    "add_route",
    "add_source_rule",
    "delete_rule",
    "dump_addresses",
    "dump_neighbours",
    "dump_routes",
    "family_of",
    "get_neighbour",
    "get_route",
    "parse_address",
    "parse_neighbour",
    "parse_route",
]

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

# linux/rtnetlink.h
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 9, 15
TABLE_UNSPEC, TABLE_MAIN = 0, 254
PROTOCOL_BOOT = 3
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
TYPE_UNICAST = 1
RTM_F_FIB_MATCH = 0x2000  # answer with the entry of the table that decides, not with the resolved route

FRA_SRC, FRA_TABLE, FR_ACT_TO_TBL = 2, 15, 1  # linux/fib_rules.h

IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02  # linux/if_addr.h
NDA_DST, NDA_LLADDR = 1, 2  # linux/neighbour.h
PERMANENT = 0x80  # NUD_PERMANENT, linux/neighbour.h

_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_FIB_RULE = _RTMSG  # struct fib_rule_hdr has the same widths: family, dst_len, src_len, tos, table, -, -, action, flags
_NDMSG = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the kernel has it; of a multipath route the first hop."""

    destination: IPNetwork
    gateway: IPAddress | None
    interface: int
    protocol: int
    table: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry."""

    ip: IPAddress
    interface: int
    mac: str
    state: int


def family_of(address: IPAddress | IPNetwork) -> int:
    """AF_INET or AF_INET6."""
    return AF_INET if address.version == 4 else AF_INET6


def add_address(index: int, address: IPInterface) -> Message:
    """Gives an interface an address; fails when it has it already. An IPv6 one serves at once: nobody is asked for duplicates."""
    flags = 0 if address.version == 4 else IFA_F_NODAD
    payload = _IFADDR.pack(family_of(address.ip), address.network.prefixlen, flags, SCOPE_UNIVERSE, index)
    payload += attribute(IFA_LOCAL, address.ip.packed) + attribute(IFA_ADDRESS, address.ip.packed)
    return Message(f"add address {address}", RTM_NEWADDR, CREATE | EXCL, payload)


def add_route(
    destination: IPNetwork,
    interface: int,
    *,
    gateway: IPAddress | None = None,
    protocol: int = PROTOCOL_BOOT,
    metric: int = 0,
    table: int = TABLE_MAIN,
) -> Message:
    """Adds a route; fails when one stands there with the same metric, whoever owns it. Metric 0 of IPv6 is the kernel's 1024."""
    scope = SCOPE_LINK if gateway is None else SCOPE_UNIVERSE
    family = family_of(destination)
    payload = _RTMSG.pack(family, destination.prefixlen, 0, 0, TABLE_UNSPEC, protocol, scope, TYPE_UNICAST, 0)
    if destination.prefixlen:
        payload += attribute(RTA_DST, destination.network_address.packed)
    if gateway is not None:
        payload += attribute(RTA_GATEWAY, gateway.packed)
    payload += attribute(RTA_OIF, u32(interface)) + attribute(RTA_PRIORITY, u32(metric)) + attribute(RTA_TABLE, u32(table))
    way = f"via {gateway}" if gateway else f"on interface {interface}"
    return Message(f"add route {destination} {way}", RTM_NEWROUTE, CREATE | EXCL, payload)


def add_source_rule(source: IPAddress, table: int) -> Message:
    """Has packets from `source` routed by `table` first (man 8 ip-rule, linux/fib_rules.h)."""
    payload = _FIB_RULE.pack(family_of(source), 0, source.max_prefixlen, 0, TABLE_UNSPEC, 0, 0, FR_ACT_TO_TBL, 0)
    payload += attribute(FRA_SRC, source.packed) + attribute(FRA_TABLE, u32(table))
    return Message(f"add rule from {source} to table {table}", RTM_NEWRULE, CREATE | EXCL, payload)


def delete_rule(table: int, family: int = AF_INET) -> Message:
    """Deletes the first rule that has `table` looked up; ENOENT when there is none."""
    payload = _FIB_RULE.pack(family, 0, 0, 0, TABLE_UNSPEC, 0, 0, FR_ACT_TO_TBL, 0) + attribute(FRA_TABLE, u32(table))
    return Message(f"delete a rule of table {table}", RTM_DELRULE, 0, payload)


def add_neighbour(ip: IPAddress, interface: int, mac: str) -> Message:
    """Sets a permanent neighbour entry, whatever stood there."""
    payload = _NDMSG.pack(family_of(ip), interface, PERMANENT, 0, 0)
    payload += attribute(NDA_DST, ip.packed) + attribute(NDA_LLADDR, parse_mac(mac))
    return Message(f"set neighbour {ip} to {mac}", RTM_NEWNEIGH, CREATE | REPLACE, payload)


def dump_addresses(family: int = AF_INET) -> Message:
    """Asks for all addresses of a family."""
    return Message("list addresses", RTM_GETADDR, DUMP, _IFADDR.pack(family, 0, 0, 0, 0))


def dump_neighbours(family: int = AF_INET) -> Message:
    """Asks for all neighbour entries of a family."""
    return Message("list neighbours", RTM_GETNEIGH, DUMP, _NDMSG.pack(family, 0, 0, 0, 0))


def dump_routes(protocol: int = 0, family: int = AF_INET) -> Message:
    """Asks for all routes of all tables of a family, or for those of one protocol (Linux 4.20 and later)."""
    return Message("list routes", RTM_GETROUTE, DUMP, _RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0))


def get_route(ip: IPAddress) -> Message:
    """Asks which entry of the routing tables decides for a packet to `ip`."""
    payload = _RTMSG.pack(family_of(ip), ip.max_prefixlen, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH) + attribute(RTA_DST, ip.packed)
    return Message(f"look up the route to {ip}", RTM_GETROUTE, 0, payload)


def get_neighbour(ip: IPAddress, interface: int) -> Message:
    """Asks for one neighbour entry (Linux 5.0 and later); ENOENT when it is not there."""
    payload = _NDMSG.pack(family_of(ip), interface, 0, 0, 0) + attribute(NDA_DST, ip.packed)
    return Message(f"look up neighbour {ip}", RTM_GETNEIGH, 0, payload)


def parse_address(reply: Reply) -> tuple[int, IPInterface]:
    """Index of the interface, and its address, of an RTM_NEWADDR."""
    _, prefix, _, _, index = _IFADDR.unpack_from(reply.payload)
    found = parse_attributes(reply.payload[_IFADDR.size :])
    return index, ip_interface((found.get(IFA_LOCAL) or found[IFA_ADDRESS], prefix))


def parse_route(reply: Reply) -> Route:
    """The route in an RTM_NEWROUTE or RTM_DELROUTE."""
    family, prefix, _, _, table, protocol, _, _, _ = _RTMSG.unpack_from(reply.payload)
    found = parse_attributes(reply.payload[_RTMSG.size :])
    interface = _u32(found.get(RTA_OIF))
    hops = found.get(RTA_MULTIPATH)
    if hops and len(hops) >= 8:
        interface = struct.unpack_from("=i", hops, 4)[0]  # struct rtnexthop: length, flags, hops, index
    gateway = found.get(RTA_GATEWAY)
    return Route(
        destination=ip_network((found.get(RTA_DST, _unspecified(family)), prefix)),
        gateway=ip_address(gateway) if gateway else None,
        interface=interface,
        protocol=protocol,
        table=table,
    )


def parse_neighbour(reply: Reply) -> Neighbour:
    """The entry in an RTM_NEWNEIGH or RTM_DELNEIGH."""
    family, interface, state, _, _ = _NDMSG.unpack_from(reply.payload)
    found = parse_attributes(reply.payload[_NDMSG.size :])
    address = ip_address(found.get(NDA_DST, _unspecified(family)))
    return Neighbour(address, interface, found.get(NDA_LLADDR, b"").hex(":"), state)


def _unspecified(family: int) -> bytes:
    return bytes(16 if family == AF_INET6 else 4)


def _u32(value: bytes | None) -> int:
    return struct.unpack("=I", value)[0] if value else 0
