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
from romana.netlink.ip import add_address, add_neighbour, add_route
from romana.netlink.links import Link, change_link, create_veth, get_link
from romana.netlink.wire import Message

__all__ = ["GATEWAY", "HostEnd", "Wiring", "alias", "create", "finish_host", "is_pair", "judge", "mark_finished", "set_up_pod"]

GATEWAY = IPv4Address(GATEWAY_IPV4)
DEFAULT = IPv4Network("0.0.0.0/0")

LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, net/flow.h: the first interface of every network namespace
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


def set_up_pod(wiring: Wiring, pod: Link) -> tuple[Message, ...]:
    """The pod's side, in the order in which the kernel needs it.

    Routes are appended: a pod that has another attachment already keeps that one's default route in force.
    """
    return (
        change_link(LOOPBACK_INDEX, "set up lo", up=True),
        change_link(pod.index, f"set up {pod.name}", up=True),
        *(add_address(pod.index, address) for address in wiring.addresses),
        add_route(IPv4Network(GATEWAY), pod.index, append=True),
        add_neighbour(GATEWAY, pod.index, GATEWAY_MAC),
        add_route(DEFAULT, pod.index, gateway=GATEWAY, append=True),
        get_link(index=pod.index),
    )


def finish_host(wiring: Wiring, host: Link, pod: Link) -> tuple[Message, ...]:
    """The node's side. A route that stands there already is an error: it is a living pod's, or the address is not free."""
    routes = [add_route(IPv4Network(address.ip), host.index, protocol=ROUTE_PROTOCOL_AGENT) for address in wiring.addresses]
    neighbours = [add_neighbour(address.ip, host.index, pod.mac) for address in wiring.addresses]
    return (*routes, *neighbours)


def mark_finished(wiring: Wiring, host: Link) -> tuple[Message, ...]:
    """Names the owner, and asks for the interface, which brings its carrier state up to date."""
    return (change_link(host.index, f"name the owner of {host.name}", alias=wiring.alias), get_link(index=host.index))
