"""What the store holds of addresses, at one revision, as values with their revisions. Pure.

A snapshot is of everything, or of just the keys around one suspect: what is decided of that suspect is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from ipam.holdings import Holding
from ipam.records import (
    AddressRecord,
    AttachmentId,
    AttachmentRecord,
    BlockRecord,
    NodeRecord,
    ReservationRecord,
    TopologyRecord,
    address_key,
)
from romana import keys

__all__ = ["EndpointRecord", "Kept", "PodRecord", "Snapshot"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Kept(Generic[Value]):
    """A key with its value."""

    key: str
    revision: int
    """mod_revision."""
    value: Value


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint, as policy sees it."""

    addresses: tuple[str, ...]
    node: str
    host_interface: str


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What a Pod object says of its life."""

    uid: str
    node: str
    finished: bool
    """Its phase is Succeeded or Failed: nothing of it runs."""


@dataclass(frozen=True)
class Snapshot:
    """By key, but nodes by name. A value of None could not be read."""

    revision: int = 0
    topology: TopologyRecord | None = None
    nodes: Mapping[str, Kept[NodeRecord]] = field(default_factory=dict)
    blocks: Mapping[str, Kept[BlockRecord]] = field(default_factory=dict)
    addresses: Mapping[str, Kept[AddressRecord]] = field(default_factory=dict)
    attachments: Mapping[str, Kept[AttachmentRecord | None]] = field(default_factory=dict)
    endpoints: Mapping[str, Kept[EndpointRecord]] = field(default_factory=dict)
    reservations: Mapping[str, Kept[ReservationRecord]] = field(default_factory=dict)
    pods: Mapping[str, Kept[PodRecord]] = field(default_factory=dict)
    journal: Sequence[Kept[tuple[Holding, str] | None]] = ()
    """Each with the address that it is of."""

    @cached_property
    def claims(self) -> Mapping[str, tuple[Kept[AttachmentRecord | None], ...]]:
        """By an address's key, the attachments that say that they have it."""
        found: dict[str, tuple[Kept[AttachmentRecord | None], ...]] = {}
        for kept in self.attachments.values():
            for assigned in kept.value.addresses if kept.value else ():
                key = address_key(assigned.network, assigned.ip)
                found[key] = (*found.get(key, ()), kept)
        return found

    @cached_property
    def interfaces(self) -> frozenset[tuple[str, str]]:
        """Node and host interface of every attachment, also of those that cannot be read: their keys say it."""
        ids = (AttachmentId(*keys.split(keys.ATTACHMENTS, key, 4)) for key in self.attachments)
        return frozenset((attachment.node, attachment.host_interface) for attachment in ids)

    @cached_property
    def uids(self) -> frozenset[str]:
        """Of the incarnations that are there."""
        return frozenset(kept.value.uid for kept in self.nodes.values())
