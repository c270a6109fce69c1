"""All that ipamd keeps in etcd, decoded and indexed, as it was at one revision; folded from events, with no I/O.

`take` gives what a revision changed, before and after, for the rules to judge. Journal records are handed on and not kept.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Generic, TypeVar

from ipam import codec, codec_address
from ipam.demand import IP
from ipam.records import AddressRecord, AttachmentRecord, BlockRecord, NodeRecord, ReservationRecord, TopologyRecord
from ipam.topology.carving import Prefix
from romana import keys
from romana.keys import Address, Network
from romana.store.api import Event, KeyValue
from romana.v1 import store_pb2

__all__ = ["Change", "Changes", "Endpoint", "JournalEntry", "Picture"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Change(Generic[Value]):
    """A key before and after a revision; None: absent."""

    key: str
    before: Value | None
    after: Value | None
    since: int = 0
    """The revision that wrote `before`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a pod's traffic comes from."""

    ips: tuple[Address, ...]
    host_interface: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Who held an address from when to when; UTC, milliseconds since 1970."""

    network: str
    ip: str
    attachment: str
    since_ms: int
    until_ms: int


@dataclass
class Changes:
    """What one revision changed."""

    revision: int
    addresses: list[Change[AddressRecord]] = field(default_factory=list)
    attachments: list[Change[AttachmentRecord]] = field(default_factory=list)
    endpoints: list[Change[Endpoint]] = field(default_factory=list)
    blocks: list[Change[BlockRecord]] = field(default_factory=list)
    nodes: list[Change[NodeRecord]] = field(default_factory=list)
    reservations: list[Change[ReservationRecord]] = field(default_factory=list)
    topology: list[Change[TopologyRecord]] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    recovery: bool = False
    """The store is said to have been restored."""
    since: int = 0
    """The revision that wrote the key before which is being taken."""


class Picture:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.revision = 0
        self.written: dict[str, int] = {}
        """Key -> mod_revision, of all but the journal."""
        self.removed: dict[str, int] = {}
        """Key -> revision of its removal, since `forget_removed`."""
        self.topology: TopologyRecord | None = None
        self.nodes: dict[str, NodeRecord] = {}
        """By key, as all that follow."""
        self.uids: dict[str, str] = {}
        """Uid -> the node's name."""
        self.blocks: dict[str, BlockRecord] = {}
        self.addresses: dict[str, AddressRecord] = {}
        self.attachments: dict[str, AttachmentRecord] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.reservations: dict[str, ReservationRecord] = {}
        self.fixed: dict[str, str] = {}
        """Key of a Pod object -> the addresses that it asks for."""
        self.in_block: dict[str, set[str]] = {}
        """Key of a block -> keys of the addresses that say they lie in it."""
        self.on_node: dict[str, set[str]] = {}
        """Name of a node -> keys of its attachments."""
        self.of_uid: dict[str, set[str]] = {}
        """Uid -> keys of its blocks."""
        self.having: dict[Address, set[str]] = {}
        """Address -> keys of the attachments that have it."""
        self.at_interface: dict[str, set[str]] = {}
        """Host interface -> keys of its endpoints."""
        self._prefixes: dict[str, list[Prefix]] = {}
        self._ranges: list[tuple[int, int, int, str]] = []
        """(family, first, last, key) of every block, sorted."""

    def take(self, revision: int, events: Iterable[Event]) -> Changes:
        """Fold one revision in; raises what a key raises that cannot be read."""
        changes = Changes(revision)
        for event in events:
            self._take(event, changes)
        self.revision = revision
        return changes

    def forget_removed(self) -> None:
        """Let go of which keys were removed when."""
        self.removed.clear()

    def prefixes(self, network: str) -> Sequence[Prefix]:
        """The prefixes of a network under the topology in force."""
        return self._prefixes.get(network, ())

    def overlapping(self, key: str) -> list[str]:
        """Keys of other blocks that overlap this one, its neighbours at least."""
        version, first, last = _range(self.blocks[key].cidr)
        index = bisect_left(self._ranges, (version, first, last, key))
        near = self._ranges[max(index - 1, 0) : index + 2]
        return [other for v, low, high, other in near if other != key and v == version and low <= last and first <= high]

    def _take(self, event: Event, changes: Changes) -> None:
        prefix = event.key.split("/")[0] + "/" * ("/" in event.key)
        if prefix == keys.JOURNAL:
            if event.value is not None:
                changes.journal.append(_journal(event.value))
            return
        changes.since = self.written.get(event.key, 0)
        if event.value is None:
            self.written.pop(event.key, None)
            self.removed[event.key] = event.mod_revision
        else:
            self.written[event.key] = event.value.mod_revision
        taking = self._TAKING.get(prefix)
        if taking is not None:
            taking(self, event.key, event.value, changes)

    def _address(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before = self.addresses.pop(key, None)
        after = codec_address.read_address(item) if item else None
        if before:
            _drop(self.in_block, keys.block(before.network, before.block), key)
        if after:
            self.addresses[key] = after
            self.in_block.setdefault(keys.block(after.network, after.block), set()).add(key)
        changes.addresses.append(Change(key, before, after, changes.since))

    def _attachment(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before = self.attachments.pop(key, None)
        after = codec_address.read_attachment(item) if item else None
        if before:
            _drop(self.on_node, before.id.node, key)
            for address in before.addresses:
                _drop(self.having, address.ip, key)
        if after:
            self.attachments[key] = after
            self.on_node.setdefault(after.id.node, set()).add(key)
            for address in after.addresses:
                self.having.setdefault(address.ip, set()).add(key)
        changes.attachments.append(Change(key, before, after, changes.since))

    def _endpoint(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before, after = self.endpoints.pop(key, None), None
        if before:
            _drop(self.at_interface, before.host_interface, key)
        if item:
            message = store_pb2.Endpoint.FromString(item.value)
            after = self.endpoints[key] = Endpoint(tuple(map(ip_address, message.addresses)), message.host_interface)
            self.at_interface.setdefault(after.host_interface, set()).add(key)
        changes.endpoints.append(Change(key, before, after))

    def _block(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before = self.blocks.pop(key, None)
        after = codec.read_block(item) if item else None
        if before:
            _drop(self.of_uid, before.node_uid, key)
            self._ranges.remove((*_range(before.cidr), key))
        if after:
            self.blocks[key] = after
            self.of_uid.setdefault(after.node_uid, set()).add(key)
            insort(self._ranges, (*_range(after.cidr), key))
        changes.blocks.append(Change(key, before, after))

    def _node(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before = self.nodes.pop(key, None)
        after = codec.read_node(item) if item else None
        if before and self.uids.get(before.uid) == before.name:
            del self.uids[before.uid]
        if after:
            self.nodes[key] = after
            self.uids[after.uid] = after.name
        changes.nodes.append(Change(key, before, after))

    def _reservation(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before = self.reservations.pop(key, None)
        after = codec.read_reservation(item) if item else None
        if after:
            self.reservations[key] = after
        changes.reservations.append(Change(key, before, after))

    def _topology(self, key: str, item: KeyValue | None, changes: Changes) -> None:
        before, self.topology = self.topology, codec.read_topology(item) if item else None
        self._prefixes = {}
        for prefix in self.topology.prefixes if self.topology else ():
            self._prefixes.setdefault(prefix.network, []).append(prefix)
        changes.topology.append(Change(key, before, self.topology))

    def _pod(self, key: str, item: KeyValue | None, changes: Changes) -> None:  # noqa: ARG002 - of one shape with the others
        wanted = store_pb2.Pod.FromString(item.value).annotations.get(IP, "") if item else ""
        self.fixed.pop(key, None)
        if wanted:
            self.fixed[key] = wanted

    def _restored(self, key: str, item: KeyValue | None, changes: Changes) -> None:  # noqa: ARG002 - as above
        changes.recovery = changes.recovery or item is not None

    _TAKING = {  # noqa: RUF012 - fixed
        keys.ADDRESSES: _address,
        keys.ATTACHMENTS: _attachment,
        keys.ENDPOINTS: _endpoint,
        keys.BLOCKS: _block,
        keys.NODES: _node,
        keys.RESERVATIONS: _reservation,
        keys.TOPOLOGY: _topology,
        keys.PODS: _pod,
        keys.RESTORED: _restored,
    }


Key = TypeVar("Key")


def _drop(index: dict[Key, set[str]], at: Key, key: str) -> None:
    found = index.get(at)
    if found is not None:
        found.discard(key)
        if not found:
            del index[at]


def _range(cidr: Network) -> tuple[int, int, int]:
    return cidr.version, int(cidr.network_address), int(cidr.broadcast_address)


def _journal(item: KeyValue) -> JournalEntry:
    holding, ip = codec_address.read_journal(item)
    attachment = holding.attachment.key if holding.attachment else ""
    return JournalEntry(holding.network, ip, attachment, holding.since_ms, holding.until_ms or 0)
