"""What an attachment looks like in the kernel, as messages. Pure.

    pod                                            node
    eth0  10.40.0.5/32, fd00::5/128                rom0123456789ab  ee:ee:ee:ee:ee:ee
    169.254.1.1 on eth0, link scope                10.40.0.5/32, fd00::5/128 on rom0123456789ab, protocol 83
    default via 169.254.1.1, default via fe80::1   both addresses are at the pod's MAC, permanent
    both gateways are at ee:ee:ee:ee:ee:ee, permanent

Nobody ever asks for a MAC: no proxy_arp, no neighbour discovery, and the first packet waits for nobody. The host's end is down
until policy is in force: nothing the pod does can carry a packet past it. Its alias is set last: it says whose the interface is,
and that it is finished. Why it is so: docs/adr/0002-cni-shim-and-agent.md, docs/adr/0015-one-wait-for-each-call.md.
"""

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_network

from cni.request import AttachmentId
from romana.names import GATEWAY_IPV4, GATEWAY_IPV6, GATEWAY_MAC, ROUTE_PROTOCOL_AGENT
from romana.netlink.ip import (
    TABLE_MAIN,
    IPAddress,
    IPInterface,
    IPNetwork,
    add_address,
    add_neighbour,
    add_route,
    add_source_rule,
    delete_rule,
    family_of,
)
from romana.netlink.links import Link, change_link, create_veth, get_link
from romana.netlink.wire import AF_INET, AF_INET6, Message

__all__ = [
    "FAMILIES",
    "GATEWAY",
    "GATEWAYS",
    "HostEnd",
    "Wiring",
    "address_pod",
    "alias",
    "create",
    "delete_own_rule",
    "gateway_of",
    "host_neighbour",
    "host_route",
    "is_pair",
    "judge",
    "mark_finished",
    "open_host",
    "pod_mac",
    "set_up_pod",
]

GATEWAY = IPv4Address(GATEWAY_IPV4)
GATEWAYS: dict[int, IPAddress] = {AF_INET: GATEWAY, AF_INET6: IPv6Address(GATEWAY_IPV6)}
FAMILIES = (AF_INET, AF_INET6)
DEFAULTS: dict[int, IPNetwork] = {AF_INET: ip_network("0.0.0.0/0"), AF_INET6: ip_network("::/0")}
METRIC_IPV6 = 1024  # IP6_RT_PRIO_USER, net/ip6_route.h: what the kernel makes of no metric

LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, net/flow.h: the first interface of every network namespace
TABLE_BASE = 8300  # arbitrary: beyond the tables that have names (255 at most, linux/rtnetlink.h); 83 is our route protocol
ALIAS_MAX = 255  # IFALIASZ less the NUL, linux/if.h


class HostEnd(Enum):
    """What the interface is that has the name of an attachment's host end."""

    ABSENT = "absent"
    UNFINISHED = "unfinished"
    """Ours, of an ADD that died on its way."""
    FINISHED = "finished"
    FOREIGN = "foreign"
    """Somebody else's: never touched."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The veth pair of one attachment."""

    host_interface: str
    pod_interface: str
    alias: str
    pod_mac: str
    mtu_bytes: int


def alias(attachment: AttachmentId) -> str:
    """What `ip link` shows for the host's end of an attachment; no two attachments of a node have the same."""
    text = f"romana:{attachment}"
    return text if len(text) <= ALIAS_MAX else "romana:sha256:" + hashlib.sha256(text.encode()).hexdigest()


def judge(link: Link | None, own_alias: str) -> HostEnd:
    """What the interface with our name is; only a veth with our MAC can be ours."""
    if link is None:
        return HostEnd.ABSENT
    if link.kind != "veth" or link.mac != GATEWAY_MAC or link.alias not in {"", own_alias}:
        return HostEnd.FOREIGN
    return HostEnd.FINISHED if link.alias else HostEnd.UNFINISHED


def is_pair(host: Link, pod: Link) -> bool:
    """True when these are the two ends of one veth pair."""
    return pod.kind == "veth" and host.peer_index == pod.index and pod.peer_index == host.index


def gateway_of(address: IPAddress) -> IPAddress:
    """The next hop of the pod's default route in the family of an address."""
    return GATEWAYS[family_of(address)]


def pod_mac(attachment: AttachmentId) -> str:
    """The MAC of the pod's end: follows from the attachment, so that nobody need ask for it. Locally administered (IEEE 802)."""
    return "02:" + hashlib.sha256(f"mac:{attachment}".encode()).digest()[:5].hex(":")


def create(wiring: Wiring, netns_fd: int) -> tuple[Message, ...]:
    """Makes the veth pair, down, the pod's end in its namespace from the first moment; and asks for the host's end."""
    ends = (wiring.host_interface, wiring.pod_interface, netns_fd)
    veth = create_veth(*ends, mac=GATEWAY_MAC, mtu_bytes=wiring.mtu_bytes, up=False, peer_mac=wiring.pod_mac)
    return (veth, get_link(wiring.host_interface))


def set_up_pod(pod_index: int) -> tuple[Message, ...]:
    """What the pod has before its addresses are known; without a carrier until the host's end is opened."""
    return (change_link(LOOPBACK_INDEX, "set up lo", up=True), change_link(pod_index, "set up the pod's interface", up=True))


def address_pod(addresses: tuple[IPInterface, ...], pod_index: int, with_default: Set[int]) -> tuple[Message, ...]:
    """Addresses and ways out, in the order that the kernel needs; `with_default`: families that have a default route already."""
    messages: list[Message] = [add_address(pod_index, address) for address in addresses]
    for family in FAMILIES:
        ours = [address.ip for address in addresses if family_of(address.ip) == family]
        if not ours:
            continue
        messages.append(add_neighbour(GATEWAYS[family], pod_index, GATEWAY_MAC))
        messages += _pod_routes(family, pod_index, 0 if family not in with_default else _later(family, pod_index), TABLE_MAIN)
        if family in with_default:
            messages += _own_table(family, pod_index, ours)
    return tuple(messages)


def _later(family: int, index: int) -> int:
    """A metric behind that of the first default route, another one for each interface."""
    return index + (METRIC_IPV6 if family == AF_INET6 else 0)


def _pod_routes(family: int, index: int, metric: int, table: int) -> tuple[Message, ...]:
    gateway = GATEWAYS[family]
    default = add_route(DEFAULTS[family], index, gateway=gateway, metric=metric, table=table)
    if family == AF_INET6:
        return (default,)  # a link-local gateway is on the link by nature (RFC 4291, section 2.5.6)
    return (add_route(ip_network(gateway), index, metric=metric, table=table), default)


def _own_table(family: int, index: int, addresses: Sequence[IPAddress]) -> tuple[Message, ...]:
    """A second attachment answers by its own interface: the node takes a pod's packets only where it would send the answers.

    Two default routes of one metric would not do: the kernel changes between them when both gateways are alive
    (net/ipv4/fib_semantics.c, fib_select_default).
    """
    table = TABLE_BASE + index
    return (*_pod_routes(family, index, 0, table), *(add_source_rule(address, table) for address in addresses))


def delete_own_rule(index: int, family: int) -> Message:
    """Removes a source rule of the pod's interface; unlike routes, rules do not go with their interface."""
    return delete_rule(TABLE_BASE + index, family)


def open_host(wiring: Wiring, addresses: tuple[IPInterface, ...], host_index: int) -> tuple[Message, ...]:
    """The node's side, finished. A route that stands there already is an error: a living pod's, or the address is not free."""
    return (
        change_link(host_index, f"set up {wiring.host_interface}", up=True),
        *(host_route(address.ip, host_index) for address in addresses),
        *(host_neighbour(address.ip, host_index, wiring.pod_mac) for address in addresses),
    )


def mark_finished(wiring: Wiring, host_index: int) -> tuple[Message, ...]:
    """Names the owner, and asks for the interface, which brings its carrier state up to date."""
    name = change_link(host_index, f"name the owner of {wiring.host_interface}", alias=wiring.alias)
    return (name, get_link(index=host_index))


def host_route(ip: IPAddress, host_index: int) -> Message:
    """The way from the node to the pod."""
    return add_route(ip_network(ip), host_index, protocol=ROUTE_PROTOCOL_AGENT)


def host_neighbour(ip: IPAddress, host_index: int, pod_mac: str) -> Message:
    """The pod's MAC, never asked for."""
    return add_neighbour(ip, host_index, pod_mac)
