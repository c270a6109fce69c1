"""What an attachment looks like in the kernel, as messages. Pure.

    pod                                            node
    eth0  10.40.0.5/32                             rom0123456789ab  ee:ee:ee:ee:ee:ee
    169.254.1.1 on eth0, link scope                10.40.0.5/32 on rom0123456789ab, protocol 83
    default via 169.254.1.1                        10.40.0.5 is at the pod's MAC, permanent
    169.254.1.1 is at ee:ee:ee:ee:ee:ee, permanent

Nobody ever asks for a MAC: no proxy_arp, and the first packet needs no ARP. The alias of the host's end is set last: it says
whose the interface is, and that it is finished. Why it is so: docs/adr/0002-cni-shim-and-agent.md.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from cni.request import AttachmentId
from romana.names import GATEWAY_IPV4, GATEWAY_MAC, ROUTE_PROTOCOL_AGENT
from romana.netlink.ip import TABLE_MAIN, add_address, add_neighbour, add_route, add_source_rule, delete_rule
from romana.netlink.links import Link, change_link, create_veth, get_link
from romana.netlink.wire import Message

__all__ = [
    "GATEWAY",
    "HostEnd",
    "Wiring",
    "alias",
    "create",
    "delete_own_rule",
    "finish_host",
    "host_neighbour",
    "host_route",
    "is_pair",
    "judge",
    "mark_finished",
    "set_up_pod",
]

GATEWAY = IPv4Address(GATEWAY_IPV4)
DEFAULT = IPv4Network("0.0.0.0/0")

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
    """Everything that is to be made for one attachment."""

    host_interface: str
    pod_interface: str
    alias: str
    addresses: tuple[IPv4Interface, ...]
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


def create(wiring: Wiring, netns_fd: int) -> Message:
    """Makes the veth pair, the pod's end in its namespace from the first moment."""
    return create_veth(wiring.host_interface, wiring.pod_interface, netns_fd, mac=GATEWAY_MAC, mtu_bytes=wiring.mtu_bytes)


def set_up_pod(wiring: Wiring, pod: Link, *, is_first: bool) -> tuple[Message, ...]:
    """The pod's side, in the order in which the kernel needs it; `is_first` unless the pod has a default route already."""
    return (
        change_link(LOOPBACK_INDEX, "set up lo", up=True),
        change_link(pod.index, f"set up {pod.name}", up=True),
        *(add_address(pod.index, address) for address in wiring.addresses),
        add_neighbour(GATEWAY, pod.index, GATEWAY_MAC),
        *_pod_routes(pod.index, 0 if is_first else pod.index, TABLE_MAIN),
        *(() if is_first else _own_table(wiring, pod.index)),
        get_link(index=pod.index),
    )


def _pod_routes(index: int, metric: int, table: int) -> tuple[Message, ...]:
    return (
        add_route(IPv4Network(GATEWAY), index, metric=metric, table=table),
        add_route(DEFAULT, index, gateway=GATEWAY, metric=metric, table=table),
    )


def _own_table(wiring: Wiring, index: int) -> tuple[Message, ...]:
    """A second attachment answers by its own interface: the node takes a pod's packets only where it would send the answers.

    Two default routes of one metric would not do: the kernel changes between them when both gateways are alive
    (net/ipv4/fib_semantics.c, fib_select_default).
    """
    table = TABLE_BASE + index
    return (
        *_pod_routes(index, 0, table),
        *(add_source_rule(address.ip, table) for address in wiring.addresses),
    )


def delete_own_rule(index: int) -> Message:
    """Removes a source rule of the pod's interface; unlike routes, rules do not go with their interface."""
    return delete_rule(TABLE_BASE + index)


def finish_host(wiring: Wiring, host: Link, pod: Link) -> tuple[Message, ...]:
    """The node's side. A route that stands there already is an error: it is a living pod's, or the address is not free."""
    routes = [host_route(address.ip, host.index) for address in wiring.addresses]
    neighbours = [host_neighbour(address.ip, host.index, pod.mac) for address in wiring.addresses]
    return (*routes, *neighbours)


def host_route(ip: IPv4Address, host_index: int) -> Message:
    """The way from the node to the pod."""
    return add_route(IPv4Network(ip), host_index, protocol=ROUTE_PROTOCOL_AGENT)


def host_neighbour(ip: IPv4Address, host_index: int, pod_mac: str) -> Message:
    """The pod's MAC, never asked for."""
    return add_neighbour(ip, host_index, pod_mac)


def mark_finished(wiring: Wiring, host: Link) -> tuple[Message, ...]:
    """Names the owner, and asks for the interface, which brings its carrier state up to date."""
    return (change_link(host.index, f"name the owner of {host.name}", alias=wiring.alias), get_link(index=host.index))
