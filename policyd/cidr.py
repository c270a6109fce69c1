"""Sets of networks: exact differences, nothing nested, no /0. Pure.

Sets of the kernel cannot say "except" once policies share them, and take no /0 (ipset's hash:net) and no overlaps (nftables'
intervals): docs/adr/0005-policy-in-the-kernel.md. Neighbours are not merged: each prefix length costs every packet a look-up.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from policyd.compiled import Address, Network

__all__ = ["EVERYONE", "Cover", "difference", "disjoint", "host"]

EVERYONE: frozenset[Network] = frozenset([*IPv4Network("0.0.0.0/0").subnets(), *IPv6Network("::/0").subnets()])
"""All addresses of both families, as /1 halves."""


def host(address: Address) -> Network:
    """The network of one address."""
    return IPv4Network((int(address), 32)) if isinstance(address, IPv4Address) else IPv6Network((int(address), 128))


@lru_cache(maxsize=2**14)
def difference(cidr: Network, excepts: tuple[Network, ...]) -> frozenset[Network]:
    """Exactly the addresses of `cidr` that are in none of `excepts`, in networks that do not overlap; a whole /0 in halves."""
    pieces = [cidr] if cidr.prefixlen else list[Network](cidr.subnets())
    for network in excepts:
        pieces = [rest for piece in pieces for rest in _without(piece, network)]
    return frozenset(pieces)


def _without(piece: Network, network: Network) -> Iterator[Network]:
    """What a network leaves of a piece: two networks are nested or apart, never half of each."""
    if piece.version != network.version or not piece.overlaps(network):
        yield piece
    elif piece.prefixlen < network.prefixlen:
        for half in piece.subnets():
            yield from _without(half, network)


class Cover:
    """Says quickly which networks lie within a set of others."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._members = {
            (one.version, one.prefixlen, int(one.network_address) >> (one.max_prefixlen - one.prefixlen)) for one in networks
        }
        self._lengths = {(version, length) for version, length, _ in self._members}

    def holds(self, network: Network, *, shorter: bool = False) -> bool:
        """Whether a member contains the network; with `shorter`, a member other than itself."""
        version, longest, bits = network.version, network.prefixlen - shorter, network.max_prefixlen
        first = int(network.network_address)
        for family, length in self._lengths:
            if family == version and length <= longest and (family, length, first >> (bits - length)) in self._members:
                return True
        return False

    def rest(self, networks: frozenset[Network]) -> frozenset[Network]:
        """Those of the networks that do not lie within a member."""
        return frozenset(network for network in networks if not self.holds(network)) if self._members else networks


def disjoint(networks: frozenset[Network]) -> frozenset[Network]:
    """The same addresses without networks that lie within others; the very same set when there are none."""
    if len({(network.version, network.prefixlen) for network in networks}) < 2:
        return networks
    cover = Cover(networks)
    nested = [network for network in networks if cover.holds(network, shorter=True)]
    return networks.difference(nested) if nested else networks
