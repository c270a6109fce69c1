"""Questions to the kernel about interfaces, addresses, routes and neighbours, answered with plain values."""

import errno

from romana.netlink import ip
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.ip import IPAddress, IPInterface
from romana.netlink.links import Link, dump_links, get_link, parse_link
from romana.netlink.wire import AF_INET, Message, Reply

__all__ = ["addresses", "find_link", "find_neighbour", "find_route", "links", "neighbours", "routes"]

# What the kernel answers when there is no such thing (net/core/rtnetlink.c, net/core/neighbour.c, net/ipv4/route.c).
_ABSENT = frozenset({errno.ENODEV, errno.ENOENT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.ENXIO})


def find_link(connection: Connection, name: str = "", index: int = 0) -> Link | None:
    """The interface of that name or index, or None."""
    reply = _one(connection, get_link(name, index))
    return parse_link(reply) if reply else None


def find_route(connection: Connection, destination: IPAddress) -> ip.Route | None:
    """The entry that decides for packets to `destination`, or None."""
    reply = _one(connection, ip.get_route(destination))
    return ip.parse_route(reply) if reply else None


def find_neighbour(connection: Connection, address: IPAddress, interface: int) -> ip.Neighbour | None:
    """The neighbour entry, or None."""
    reply = _one(connection, ip.get_neighbour(address, interface))
    return ip.parse_neighbour(reply) if reply else None


def addresses(connection: Connection, family: int = AF_INET) -> list[tuple[int, IPInterface]]:
    """All addresses of a family with their interfaces' indexes."""
    return [ip.parse_address(reply) for reply in connection.dump(ip.dump_addresses(family))]


def links(connection: Connection) -> list[Link]:
    """All interfaces."""
    return [parse_link(reply) for reply in connection.dump(dump_links())]


def neighbours(connection: Connection, family: int = AF_INET) -> list[ip.Neighbour]:
    """All neighbour entries of a family."""
    return [ip.parse_neighbour(reply) for reply in connection.dump(ip.dump_neighbours(family))]


def routes(connection: Connection, protocol: int = 0, family: int = AF_INET) -> list[ip.Route]:
    """All routes of table main of a family, or those of one protocol."""
    found = (ip.parse_route(reply) for reply in connection.dump(ip.dump_routes(protocol, family)))
    return [route for route in found if route.table == ip.TABLE_MAIN]


def _one(connection: Connection, question: Message) -> Reply | None:
    try:
        return connection.run(question)[0][0]
    except NetlinkError as err:
        if err.errno in _ABSENT:
            return None
        raise
