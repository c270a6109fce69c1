"""CIDRs of ipBlocks, judged as the Kubernetes API judges them. Pure.

Source: k8s.io/apimachinery, pkg/util/validation/ip.go (strict since 1.36), on top of Go's older, lenient reading of a CIDR.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from romana.errors import Fault
from romana.keys import Address, Network
from romana.objects.words import invalid, required

__all__ = ["block_faults", "block_warnings"]

NOT_A_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
LEADING_ZEROS = "must not have leading 0s in IP or prefix length"
MAPPED = "must not have an IPv4-mapped IPv6 address"
HOST_BITS = "must not have bits set beyond the prefix length"
NO_SUBSET = "must be a strict subset of `cidr`"

_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def block_faults(cidr: str, excepted: Sequence[str], path: str) -> list[Fault]:
    """What is wrong with an ipBlock; exceptions are looked at only when the CIDR can be read at all."""
    if not cidr:
        return [required(f"{path}.cidr")]
    faults = _cidr_faults(cidr, f"{path}.cidr")
    whole = _network(cidr)
    if whole is None:
        return faults
    for index, text in enumerate(excepted):
        where = f"{path}.except[{index}]"
        faults += _cidr_faults(text, where)
        part = _network(text)
        if part is not None and not (part.network_address in whole and whole.prefixlen < part.prefixlen):
            faults.append(invalid(where, text, NO_SUBSET))
    return faults


def block_warnings(cidr: str, excepted: Sequence[str], path: str) -> list[str]:
    """IPv6 CIDRs in another spelling than RFC 5952 has it, which the API keeps as they are."""
    places = [(f"{path}.cidr", cidr), *((f"{path}.except[{index}]", text) for index, text in enumerate(excepted))]
    found = []
    for where, text in places:
        network = _network(text)
        if isinstance(network, IPv6Network) and str(network) != text:
            found.append(f'{where}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")')
    return found


def _cidr_faults(text: str, path: str) -> list[Fault]:
    address, network = _address(text), _network(text)
    if address is None or network is None:
        return [invalid(path, text, NOT_A_CIDR)]
    host, _, length = text.partition("/")
    if _plain(host) != host or (length.startswith("0") and length != "0"):
        return [invalid(path, text, LEADING_ZEROS)]
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return [invalid(path, text, MAPPED)]
    return [] if address == network.network_address else [invalid(path, text, HOST_BITS)]


def _network(text: str) -> Network | None:
    """The network of a CIDR; host bits are cut off."""
    address, length = _address(text), text.partition("/")[2]
    if address is None or not (length.isascii() and length.isdigit()):
        return None
    bits = length.lstrip("0") or "0"
    if len(bits) > 3 or int(bits) > address.max_prefixlen:
        return None
    return ip_network((address, int(bits)), strict=False)


def _address(text: str) -> Address | None:
    host = text.partition("/")[0]
    try:
        return None if "%" in host else ip_address(_plain(host))
    except ValueError:
        return None


def _plain(host: str) -> str:
    """An address without leading zeros in its dotted part, which Go read as decimal numbers."""
    groups, colon, dotted = host.rpartition(":")
    return f"{groups}{colon}{_ZEROS.sub('', dotted)}" if "." in dotted else host
