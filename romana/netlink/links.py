"""Messages about interfaces, and interfaces read back. Pure. Sources: linux/if_link.h, linux/veth.h, linux/if.h."""

import struct
from dataclasses import dataclass

from romana.netlink.wire import AF_UNSPEC, CREATE, DUMP, EXCL, Message, Reply, attribute, parse_attributes, text, u32

__all__ = [
    "OPERSTATE_UP",
    "RTM_DELLINK",
    "RTM_NEWLINK",
    "Link",
    "change_link",
    "create_veth",
    "delete_group",
    "delete_link",
    "deleted_index",
    "dump_links",
    "get_link",
    "name_of",
    "parse_link",
    "parse_mac",
]

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18

# linux/if_link.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 16, 18, 20, 27, 28, 29
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
RTEXT_FILTER_SKIP_STATS = 8

VETH_INFO_PEER = 1  # linux/veth.h
IFF_UP = 1  # linux/if.h
OPERSTATE_UP = 6  # IF_OPER_UP, linux/if.h (RFC 2863)

_IFINFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, index, flags, change mask


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel has it."""

    index: int
    name: str
    up: bool
    """Set up by somebody (IFF_UP)."""
    operstate: int
    mac: str
    mtu_bytes: int
    kind: str
    """`veth`, `dummy`; empty for hardware and loopback."""
    alias: str
    peer_index: int
    """Index of a veth's other end, in its own namespace; 0 when there is none."""


def create_veth(
    name: str, peer: str, peer_netns_fd: int, *, mac: str, mtu_bytes: int, up: bool = True, peer_mac: str = ""
) -> Message:
    """Creates `name`, with `mac`, here, and its other end `peer`, down, in the namespace behind the descriptor.

    The peer cannot be created up: the kernel answers ENOTCONN. Without `peer_mac` the kernel chooses one.
    """
    mtu = attribute(IFLA_MTU, u32(mtu_bytes))
    there = _ifinfo() + attribute(IFLA_IFNAME, text(peer)) + mtu + attribute(IFLA_NET_NS_FD, u32(peer_netns_fd))
    there += attribute(IFLA_ADDRESS, parse_mac(peer_mac)) if peer_mac else b""
    kind = attribute(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, there))
    here = attribute(IFLA_IFNAME, text(name)) + attribute(IFLA_ADDRESS, parse_mac(mac)) + mtu
    head = _ifinfo(flags=IFF_UP, change=IFF_UP) if up else _ifinfo()
    return Message(f"create veth pair {name}, {peer}", RTM_NEWLINK, CREATE | EXCL, head + here + attribute(IFLA_LINKINFO, kind))


def change_link(index: int, what: str, *, up: bool = False, alias: str | None = None, group: int | None = None) -> Message:
    """Sets an interface up, names its purpose (`ip link show` prints the alias), or puts it into a group."""
    payload = _ifinfo(index, IFF_UP if up else 0, IFF_UP if up else 0)
    if alias is not None:
        payload += attribute(IFLA_IFALIAS, alias.encode())
    if group is not None:
        payload += attribute(IFLA_GROUP, u32(group))
    return Message(what, RTM_NEWLINK, 0, payload)


def delete_link(index: int, name: str) -> Message:
    """Deletes an interface by index: a name may by now be another interface's."""
    return Message(f"delete interface {name}", RTM_DELLINK, 0, _ifinfo(index))


def delete_group(group: int) -> Message:
    """Deletes all interfaces of a group at once; ENODEV when it has none (net/core/rtnetlink.c, rtnl_group_dellink)."""
    return Message(f"delete the interfaces of group {group}", RTM_DELLINK, 0, _ifinfo() + attribute(IFLA_GROUP, u32(group)))


def get_link(name: str = "", index: int = 0) -> Message:
    """Asks for one interface; the kernel brings its carrier state up to date first (net/core/rtnetlink.c, rtnl_getlink)."""
    payload = _ifinfo(index) + (attribute(IFLA_IFNAME, text(name)) if name else b"")
    payload += attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS))
    return Message(f"look up interface {name or index}", RTM_GETLINK, 0, payload)


def dump_links() -> Message:
    """Asks for all interfaces."""
    return Message("list interfaces", RTM_GETLINK, DUMP, _ifinfo() + attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_SKIP_STATS)))


def parse_link(reply: Reply) -> Link:
    """The interface in an RTM_NEWLINK."""
    _, _, index, flags, _ = _IFINFO.unpack_from(reply.payload)
    found = parse_attributes(reply.payload[_IFINFO.size :])
    kind = parse_attributes(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    return Link(
        index=index,
        name=_text(found.get(IFLA_IFNAME, b"")),
        up=bool(flags & IFF_UP),
        operstate=found.get(IFLA_OPERSTATE, b"\0")[0],
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu_bytes=_u32(found.get(IFLA_MTU)),
        kind=_text(kind),
        alias=_text(found.get(IFLA_IFALIAS, b"")),
        peer_index=_u32(found.get(IFLA_LINK)),
    )


def name_of(event: Reply) -> str:
    """Name of the interface of an RTM_NEWLINK or RTM_DELLINK, without reading the rest: it comes first (rtnl_fill_ifinfo)."""
    length, kind = struct.unpack_from("=HH", event.payload, _IFINFO.size)
    if kind == IFLA_IFNAME:
        return _text(event.payload[_IFINFO.size + 4 : _IFINFO.size + length])
    return parse_link(event).name


def deleted_index(event: Reply) -> int:
    """Index of the interface of an RTM_NEWLINK or RTM_DELLINK, without reading the rest."""
    index: int = _IFINFO.unpack_from(event.payload)[2]
    return index


def parse_mac(mac: str) -> bytes:
    """Six bytes of `ee:ee:ee:ee:ee:ee`."""
    return bytes.fromhex(mac.replace(":", ""))


def _ifinfo(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(AF_UNSPEC, 0, index, flags, change)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _u32(value: bytes | None) -> int:
    return struct.unpack("=I", value)[0] if value else 0
