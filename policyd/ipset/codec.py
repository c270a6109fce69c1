"""Members of sets as netlink attributes and back. Pure. Source: linux/netfilter/ipset/ip_set.h.

A member is written with the attributes in the order in which the kernel lists them (mtype_data_list in net/netfilter/ipset/), so
that what it lists can be compared byte for byte (`listed`); but reading takes any order.
"""

import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from policyd.compiled import Address, Network, PortPeers, Protocol
from policyd.ipset.model import Member, SetType, Station, family_of
from romana.netlink.wire import attribute, parse_attributes, text

__all__ = ["A_DATA", "NESTED", "NET_BYTEORDER", "decode", "encode", "listed", "split"]

NESTED, NET_BYTEORDER = 0x8000, 0x4000  # NLA_F_*, linux/netlink.h
A_DATA = 7  # IPSET_ATTR_DATA
IP, CIDR, PORT, PROTO, FLAGS, IFACE = 1, 3, 4, 7, 8, 23
IPV4, IPV6 = 1, 2  # IPSET_ATTR_IPADDR_*

# One attribute: length, type, value, padding to 4 bytes. Its ints are big-endian where it says NET_BYTEORDER.
_IP4 = struct.pack("=HHHH", 12, IP | NESTED, 8, IPV4 | NET_BYTEORDER)
_IP6 = struct.pack("=HHHH", 24, IP | NESTED, 20, IPV6 | NET_BYTEORDER)
_LISTED = {4: struct.pack("=HH", 8, IPV4), 6: struct.pack("=HH", 20, IPV6)}
_CIDR = struct.pack("=HH", 5, CIDR)
_PORT = struct.pack("=HH", 6, PORT | NET_BYTEORDER)
_PROTO = struct.pack("=HH", 5, PROTO)

_NET = {4: struct.Struct(">4s8sI4sB3x"), 6: struct.Struct(">4s8s16s4sB3x")}
_NET_PORT = {4: struct.Struct(">4s8sI4sH2x4sB3x4sB3x"), 6: struct.Struct(">4s8s16s4sH2x4sB3x4sB3x")}


def _nest(size: int) -> bytes:
    return struct.pack("=HH", size, A_DATA | NESTED)


_NET_HEAD = {family: _nest(shape.size) for family, shape in _NET.items()}
_NET_PORT_HEAD = {family: _nest(shape.size) for family, shape in _NET_PORT.items()}


def encode(member: Member) -> bytes:
    """A member as one IPSET_ATTR_DATA."""
    if isinstance(member, PortPeers):
        peer = member.peer
        return _NET_PORT[peer.version].pack(
            _NET_PORT_HEAD[peer.version], *_ip(peer), _PORT, member.port, _CIDR, peer.prefixlen, _PROTO, member.protocol.value
        )
    if isinstance(member, Station):
        length = attribute(CIDR, bytes([member.address.max_prefixlen]))
        return attribute(A_DATA | NESTED, _address(member.address) + length + attribute(IFACE, text(member.interface)))
    return _NET[member.version].pack(_NET_HEAD[member.version], *_ip(member), _CIDR, member.prefixlen)


def listed(member: Member) -> bytes:
    """A member as the kernel lists it: without the flag of byte order, which it demands of us."""
    data = encode(member)
    return data[:8] + _LISTED[family_of(member)] + data[12:]


def decode(kind: SetType, data: bytes) -> Member:
    """The member in one IPSET_ATTR_DATA. Raises ValueError, KeyError or InvalidInput for one that we never put in."""
    return _PARSERS[kind](parse_attributes(data[4:]))


def split(container: bytes) -> Iterator[bytes]:
    """The IPSET_ATTR_DATA in one IPSET_ATTR_ADT."""
    offset = 0
    while offset + 4 <= len(container):
        end = offset + (int.from_bytes(container[offset : offset + 2], sys.byteorder) + 3 & ~3)
        if end == offset:
            return
        yield container[offset:end]
        offset = end


def _ip(network: Network) -> tuple[bytes, int | bytes]:
    if isinstance(network, IPv4Network):
        return _IP4, int(network.network_address)
    return _IP6, network.network_address.packed


def _address(address: Address) -> bytes:
    return (_IP4 if address.version == 4 else _IP6) + address.packed


Found: TypeAlias = Mapping[int, bytes]


def _plain(found: Found) -> None:
    if int.from_bytes(found.get(FLAGS, b"")):
        raise ValueError("a member with flags, such as nomatch")


def _parse_address(found: Found) -> Address:
    value = found[IP][4:]
    return IPv4Address(value) if len(value) == 4 else IPv6Address(value)


def _parse_network(found: Found) -> Network:
    _plain(found)
    value = found[IP][4:]
    length = found[CIDR][0] if CIDR in found else len(value) * 8
    return IPv4Network((value, length)) if len(value) == 4 else IPv6Network((value, length))


def _parse_port(found: Found) -> PortPeers:
    return PortPeers(_parse_network(found), Protocol(found[PROTO][0]), int.from_bytes(found[PORT]))


def _parse_station(found: Found) -> Station:
    _plain(found)
    if found.get(CIDR, b"\xff")[0] not in (32, 128, 255):
        raise ValueError("a whole network on an interface")
    return Station(_parse_address(found), found[IFACE].rstrip(b"\0").decode("ascii"))


_PARSERS: dict[SetType, Callable[[Found], Member]] = {
    SetType.NET: _parse_network,
    SetType.NET_PORT: _parse_port,
    SetType.NET_IFACE: _parse_station,
}
