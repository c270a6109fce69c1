"""Questions to the kernel about interfaces, addresses, routes and neighbours, answered with plain values."""

import errno
from ipaddress import IPv4Address, IPv4Interface

from romana.netlink import ip
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.links import Link, get_link, parse_link
from romana.netlink.wire import Message, Reply

__all__ = ["addresses", "find_link", "find_neighbour", "find_route", "routes"]

# What the kernel answers when there is no such thing (net/core/rtnetlink.c, net/core/neighbour.c, net/ipv4/route.c).
_ABSENT = frozenset({errno.ENODEV, errno.ENOENT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.ENXIO})


def find_link(connection: Connection, name: str = "", index: int = 0) -> Link | None:
    """The interface of that name or index, or None."""
    reply = _one(connection, get_link(name, index))
    return parse_link(reply) if reply else None


def find_route(connection: Connection, destination: IPv4Address) -> ip.Route | None:
    """The entry that decides for packets to `destination`, or None."""
    reply = _one(connection, ip.get_route(destination))
    return ip.parse_route(reply) if reply else None


def find_neighbour(connection: Connection, address: IPv4Address, interface: int) -> ip.Neighbour | None:
    """The neighbour entry, or None."""
    reply = _one(connection, ip.get_neighbour(address, interface))
    return ip.parse_neighbour(reply) if reply else None


def addresses(connection: Connection) -> list[tuple[int, IPv4Interface]]:
    """All IPv4 addresses with their interfaces' indexes."""
    return [ip.parse_address(reply) for reply in connection.dump(ip.dump_addresses())]


def routes(connection: Connection) -> list[ip.Route]:
    """All IPv4 routes of table main."""
    return [route for reply in connection.dump(ip.dump_routes()) if (route := ip.parse_route(reply)).table == ip.TABLE_MAIN]


def _one(connection: Connection, question: Message) -> Reply | None:
    try:
        return connection.run(question)[0][0]
    except NetlinkError as err:
        if err.errno in _ABSENT:
            return None
        raise
