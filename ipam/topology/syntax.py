"""Text of the document's fields as values: names, labels, prefixes, addresses, routing. Pure.

Each function returns the value, or raises `ValueError` with what stands there and what would be accepted.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from romana.keys import Address, Network
from romana.names import is_node_name

__all__ = [
    "cidr",
    "group_name",
    "host_address",
    "host_name",
    "label_key",
    "label_value",
    "network_name",
    "quoted",
    "routing",
    "tenant",
]

NETWORK_NAME_MAX = 63  # as a Kubernetes label value; it stands in every key of a block and an address
GROUP_NAME_MAX = 128
LABEL_NAME_MAX = 63  # kubernetes.io, "Labels and Selectors", section "Syntax and character set"

_NETWORK_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
# Romana's kops files name groups "failure-domain: us-east-1a".
_GROUP_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._:-]*[A-Za-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_TENANT = re.compile(r"[A-Za-z0-9_-]+")  # Romana's own rule, less the empty name
_PREFIX = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
_PEER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?")

_ROUTING_WORDS = ("block-host-routes", "block-on-host", "prefix-on-host", "prefix-announce-vpc")
_ROUTING_PEER_WORDS = ("prefix-announce-bgp", "block-announce-bgp")
_ROUTING_ACCEPTED = ", ".join([*_ROUTING_WORDS, *(f"{word}:<peer>" for word in _ROUTING_PEER_WORDS)])

_RESERVED: tuple[tuple[Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "this network, RFC 1122"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local, and pods' gateway is in it"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv6Network("::ffff:0:0/96"), "IPv4-mapped; write it as IPv4"),
    (IPv6Network("::/127"), "unspecified and loopback"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
)

OWNERS = ("node", "tenant")


def quoted(text: str) -> str:
    """The text in quotes, cut at 60 characters, nothing in it but printable ASCII."""
    return ascii(text if len(text) <= 60 else text[:57] + "...").replace("'", '"')


def network_name(text: str) -> str:
    """A name that can stand in a key."""
    if len(text) > NETWORK_NAME_MAX or not _NETWORK_NAME.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a network's name: letters, digits, '.', '_', '-', at most {NETWORK_NAME_MAX}")
    return text


def group_name(text: str) -> str:
    """A name to show: one line, no `/`."""
    if len(text) > GROUP_NAME_MAX or not _GROUP_NAME.fullmatch(text):
        accepted = f"letters, digits, ' ', '.', '_', ':', '-', at most {GROUP_NAME_MAX}, letter or digit at both ends"
        raise ValueError(f"{quoted(text)} is not a group's name: {accepted}")
    return text


def host_name(text: str) -> str:
    """A node's name."""
    if not is_node_name(text):
        raise ValueError(f"{quoted(text)} is not a node's name: lower-case DNS name, at most 253 characters (RFC 1123)")
    return text


def tenant(text: str) -> str:
    """A tenant's name."""
    if text == "*":
        raise ValueError('"*" is not a tenant; leave tenants out to admit any')
    if not _TENANT.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a tenant's name: letters, digits, '_', '-'")
    return text


def owner(text: str) -> str:
    """Who owns a network's blocks."""
    if text not in OWNERS:
        raise ValueError(f"{quoted(text)} owns no blocks; accepted: {', '.join(OWNERS)}")
    return text


def label_key(text: str) -> str:
    """A node label: a name of at most 63 characters, with an optional DNS prefix before a `/`."""
    prefix, slash, name = text.rpartition("/")
    if (slash and not is_node_name(prefix)) or len(name) > LABEL_NAME_MAX or not _LABEL_NAME.fullmatch(name):
        raise ValueError(f"{quoted(text)} is not a node label: [DNS name/]letters, digits, '.', '_', '-', at most 63")
    return text


def label_value(text: str) -> str:
    """The value of a node label; it may be empty."""
    if text and (len(text) > LABEL_NAME_MAX or not _LABEL_NAME.fullmatch(text)):
        raise ValueError(f"{quoted(text)} is not a label's value: letters, digits, '.', '_', '-', at most {LABEL_NAME_MAX}")
    return text


def cidr(text: str) -> Network:
    """A prefix that pods can live in: no host bits, nothing reserved."""
    if not _PREFIX.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a CIDR, as 10.112.0.0/12 or fd00:10::/48")
    try:
        network = ip_network(text, strict=False)
    except ValueError as err:
        raise ValueError(f"{quoted(text)} is not a CIDR, as 10.112.0.0/12 or fd00:10::/48: {err}") from err
    for reserved, why in _RESERVED:
        if network.version == reserved.version and network.overlaps(reserved):
            raise ValueError(f"{quoted(text)} overlaps {reserved} ({why})")
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f'{quoted(text)} has host bits set; did you mean "{network}"?')
    return network


def host_address(text: str) -> Address:
    """A node's own address: unicast, and not IPv4 in IPv6's clothes."""
    try:
        address = ip_address(text)
    except ValueError as err:
        raise ValueError(f"{quoted(text)} is not an address, as 192.0.2.11 or 2001:db8::11") from err
    if "%" in text:
        raise ValueError(f"{quoted(text)} carries a zone; an address without one is accepted")
    for reserved, why in _RESERVED:
        if address in reserved:
            raise ValueError(f"{quoted(text)} is in {reserved} ({why})")
    return address


def routing(text: str) -> str:
    """How a group's prefix is made known: words by commas, spaces around them dropped; empty is as good as absent."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    seen: set[str] = set()
    for word in words:
        _check_routing_word(word)
        if word in seen:
            raise ValueError(f"{quoted(word)} stands there twice")
        seen.add(word)
    return ",".join(words)


def _check_routing_word(word: str) -> None:
    head, colon, peer = word.partition(":")
    if head in _ROUTING_PEER_WORDS:
        if not _PEER.fullmatch(peer):
            raise ValueError(f"{quoted(word)} names no peer; {head}:<peer> is accepted, peer by name or address")
    elif head not in _ROUTING_WORDS or colon:
        raise ValueError(f"{quoted(word)} is not a routing word; accepted: {_ROUTING_ACCEPTED}")
