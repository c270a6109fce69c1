"""The fabric's second family, for labs whose topology has a network of IPv6. Pure.

One segment beside that of IPv4, 2001:2::/64, of the range for tests in isolated networks (RFC 5180): the documentation's prefix,
2001:db8::/32, and fd00::/8 stand in topologies that people try, and no network may cover a node's own address. Who is .11 in IPv4
is ::11 here, so that one sees whose address it is.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

__all__ = ["FABRIC_NET6", "beside"]

FABRIC_NET6 = IPv6Network("2001:2::/64")


def beside(address: IPv4Address) -> IPv6Address:
    """The address of the same machine in IPv6: the last number of its IPv4 address, in the same digits."""
    return FABRIC_NET6[int(str(address.packed[-1]), 16)]
