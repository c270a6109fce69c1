"""What the node must have for its finished attachments, and what to add when it has not. Pure.

Only what an ADD makes on the node besides the interface: the host route (protocol 83) and the permanent neighbour. Somebody may
delete them, and the kernel does when the interface is set down. Nothing is ever removed, and no interface is set up.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cni import wiring
from cni.request import AttachmentId
from cni.wiring import HostEnd
from romana.netlink import ip, links
from romana.netlink.ip import IPAddress
from romana.netlink.links import Link
from romana.netlink.wire import AF_INET, AF_INET6, Message, Reply

__all__ = ["Observed", "Record", "Repair", "plan", "subject"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a finished attachment."""

    attachment: AttachmentId
    host_interface: str
    pod_mac: str
    addresses: tuple[IPAddress, ...]
    boot_id: str
    """The node's boot in which it was made; empty when that is not known. In another one its interface cannot be there."""
    has_rules: bool = False
    """The pod has source rules for it, which do not go with the interface."""

    @classmethod
    def parse(cls, attachment: AttachmentId, document: Mapping[str, Any]) -> "Record":
        """The inverse of `document`; raises KeyError, TypeError or ValueError."""
        links.parse_mac(document["pod_mac"])
        addresses = tuple(ip_address(address) for address in document["addresses"])
        return cls(
            attachment=attachment,
            host_interface=str(document["host_interface"]),
            pod_mac=document["pod_mac"],
            addresses=addresses,
            boot_id=str(document.get("boot_id", "")),
            has_rules=bool(document.get("has_rules", True)),
        )

    def document(self) -> Mapping[str, object]:
        """For JSON, without the key."""
        addresses = [str(address) for address in self.addresses]
        return {
            "host_interface": self.host_interface,
            "pod_mac": self.pod_mac,
            "addresses": addresses,
            "boot_id": self.boot_id,
            "has_rules": self.has_rules,
        }

    def names(self) -> tuple[str | IPAddress, ...]:
        """Everything that an event of the kernel could call it by."""
        return (self.host_interface, *self.addresses)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel has on the node."""

    links: Mapping[str, Link]
    routes: Set[tuple[IPAddress, int]]
    """Destinations of the agent's host routes, with the index of their interface."""
    neighbours: Set[tuple[IPAddress, int, str]]
    """The permanent ones: address, index of the interface, MAC."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What to add for one attachment."""

    record: Record
    index: int
    routes: tuple[IPAddress, ...]
    neighbours: tuple[Message, ...]


def plan(records: Iterable[Record], observed: Observed) -> list[Repair]:
    """Everything that is missing, by attachment; the second plan is empty."""
    found = (_repair(record, link, observed) for record, link in _finished(records, observed) if link.up)
    return [repair for repair in found if repair.routes or repair.neighbours]


def subject(event: Reply) -> str | IPAddress | None:
    """Whose loss an event of the kernel may tell: an interface's name, a destination's or neighbour's address; else None."""
    if event.kind == links.RTM_NEWLINK:
        return links.name_of(event)
    if event.payload[0] not in {AF_INET, AF_INET6}:
        return None
    if event.kind == ip.RTM_DELROUTE:
        return ip.parse_route(event).destination.network_address
    if event.kind == ip.RTM_DELNEIGH:
        return ip.parse_neighbour(event).ip
    if event.kind == ip.RTM_NEWNEIGH:
        neighbour = ip.parse_neighbour(event)
        return None if neighbour.state & ip.PERMANENT else neighbour.ip
    return None


def _finished(records: Iterable[Record], observed: Observed) -> Iterator[tuple[Record, Link]]:
    for record in records:
        link = observed.links.get(record.host_interface)
        if link is not None and wiring.judge(link, wiring.alias(record.attachment)) is HostEnd.FINISHED:
            yield record, link


def _repair(record: Record, link: Link, observed: Observed) -> Repair:
    index, mac = link.index, record.pod_mac
    return Repair(
        record=record,
        index=index,
        routes=tuple(address for address in record.addresses if (address, index) not in observed.routes),
        neighbours=tuple(
            wiring.host_neighbour(address, index, mac)
            for address in record.addresses
            if (address, index, mac) not in observed.neighbours
        ),
    )
