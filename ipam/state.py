"""What ipamd last heard of the store, plus what it has itself written since.

    watch ──→ tables: topology, nodes, blocks, addresses ──→ occupancy (what is free), uneven (nodes to look after)
    own transactions, read-backs ──↗

Owned by one event loop. It may lag behind the store: every transaction compares what it was decided on, so being behind costs a
retry and never an address twice.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from ipam import codec, codec_address
from ipam.allocator import Holdings
from ipam.commit import Txn
from ipam.counts import WatchLag
from ipam.networks import reserved_by_document, reserved_by_operator
from ipam.occupancy import NOBODY, Group, Occupancy
from ipam.records import (
    AddressRecord,
    AttachmentId,
    BlockRecord,
    NodeRecord,
    ReservationRecord,
    Share,
    TopologyRecord,
)
from ipam.table import Row, Table
from ipam.topology.placement import Placement
from romana import keys
from romana.errors import Refused, Unavailable
from romana.store.api import Get, KeyValue, Listing, Put, Store, TxnResult
from romana.store.following import follow

__all__ = ["State", "Uneven"]

Value = TypeVar("Value")

PAGE = 5000
"""Keys of a listing's page: about 1.5 MB of addresses. For each page etcd walks all keys that are left of the range (etcd v3.4,
mvcc/kvstore_txn.go, rangeKeys), so 150,000 addresses in pages of 500 are 22 million steps."""


@dataclass(frozen=True, slots=True)
class Uneven:
    """Why a node is to be looked after."""

    due_s: float
    """From when on, by the state's clock."""
    changes: int
    """How many since it was last looked after: one that comes meanwhile must not be lost."""


class State:
    """See the module's docstring. `clock` is monotonic, in seconds.

    `lag_s` says how long to leave the nodes that another ipamd changed to that one, so that not all claim ahead at once.
    """

    def __init__(self, clock: Callable[[], float], lag_s: Callable[[], float]) -> None:
        self.occupancy = Occupancy(clock, self._freed)
        self.lag = WatchLag()
        self.uneven: dict[str, Uneven] = {}
        """Nodes that something changed for since they were last looked after (placed, given a block ahead)."""
        self._standing: dict[tuple[str, str], dict[str, Placement]] = {}
        """By network and path of a group, the keys of the nodes that stand there and take addresses."""
        self._clock = clock
        self._lag_s = lag_s
        self._writing = False
        self._takes: dict[str, tuple[Row[TopologyRecord], Row[NodeRecord], frozenset[Placement]]] = {}
        self._held_by: set[AttachmentId] = set()
        self._writing_now: dict[str, tuple[bytes, AddressRecord]] = {}
        self._by_uid: dict[str, set[str]] = {}
        self._waiting: dict[Group, set[str]] = {}
        self.topology: Table[TopologyRecord] = Table(codec.read_topology, self._topology_changed)
        self.nodes: Table[NodeRecord] = Table(codec.read_node, self._node_changed)
        self.blocks: Table[BlockRecord] = Table(codec.read_block, self._block_changed)
        self.addresses: Table[AddressRecord] = Table(self._read_address, self._address_changed)
        self.reservations: Table[ReservationRecord] = Table(codec.read_reservation, self._reservation_changed)
        self._tables: dict[str, Table[Any]] = {
            keys.TOPOLOGY: self.topology,
            keys.NODES: self.nodes,
            keys.BLOCKS: self.blocks,
            keys.ADDRESSES: self.addresses,
            keys.RESERVATIONS: self.reservations,
        }

    @property
    def prefixes(self) -> Sequence[str]:
        """What to watch."""
        return tuple(self._tables)

    @property
    def whole(self) -> bool:
        """True once every table has had its first snapshot: before that nothing may be decided on it."""
        return all(table.whole for table in self._tables.values())

    @property
    def unread(self) -> list[str]:
        """The prefixes that have had no snapshot yet."""
        return [prefix for prefix, table in self._tables.items() if not table.whole]

    def require_whole(self) -> None:
        """Raise Unavailable before the first full snapshot."""
        if not self.whole:
            raise Unavailable("ipamd has not read the store yet (etcd is away, or ipamd has just started); try again")

    def node_names(self) -> list[str]:
        """Names of the nodes that are known."""
        return [row.value.name for row in self.nodes.rows.values()]

    def forget(self) -> None:
        """As if nothing had been read yet: what is known is of another history of the store."""
        for table in self._tables.values():
            table.replace((), 0)
            table.whole = False
        self.lag.forget()

    async def follow(self, store: Store, prefix: str) -> AsyncGenerator[None, None]:
        """Keep the table of this prefix up to date; yields after each change."""
        table = self._tables[prefix]
        async with aclosing(follow(store, prefix, PAGE)) as heard:
            async for each in heard:
                if isinstance(each, Listing):
                    table.replace(each.items, each.revision)
                else:
                    table.follow(each.events, each.revision)
                if table is self.addresses:
                    self.lag.heard(each.revision)
                del each  # a listing is large, and the next change may be long in coming
                yield

    def writing(self, txn: Txn) -> None:
        """This transaction, which writes addresses, is about to be sent: the watch may tell of it before its own answer does, and
        then its values need not be decoded. To be ended by `written` for each address."""
        records = dict(txn.values)
        for write in txn.writes:
            record = records.get(write.key)
            if isinstance(record, AddressRecord) and isinstance(write, Put):
                self._writing_now[write.key] = (write.value, record)

    def written(self, key: str) -> None:
        """End `writing` for an address, whatever has become of it."""
        self._writing_now.pop(key, None)

    def committed(self, txn: Txn, revision: int) -> None:
        """Take a transaction of our own that succeeded."""
        self._writing = True
        values = dict(txn.values)
        for write in txn.writes:
            table = self._table_of(write.key)
            if table is None:
                continue
            if table is self.addresses:
                self.lag.wrote(revision)
            if isinstance(write, Put):
                row = table.rows.get(write.key)
                created = row.create_revision if row else revision
                table.put(KeyValue(write.key, write.value, created, revision, version=1), values.get(write.key))
                continue
            for key in list(filter(write.covers, table.rows)) if write.prefix or write.until else [write.key]:
                table.remove(key, revision)
        self._writing = False

    def learn(self, reads: Sequence[Get], result: TxnResult) -> dict[str, KeyValue | None]:
        """Take what a transaction read, key by key; the answer has them all, None for an absent one."""
        found = {read.key: items[0] if items else None for read, items in zip(reads, result.gets, strict=True)}
        for key, item in found.items():
            table = self._table_of(key)
            if table is not None and item is not None:
                table.put(item)
            elif table is not None:
                table.remove(key, result.revision)
        return found

    async def reload(self, store: Store, prefix: str) -> int:
        """Read a whole table anew, when the watch may not have told all of it yet; the answer is the revision read at."""
        listing = await store.list(prefix, PAGE)
        self._tables[prefix].refresh(listing)
        return listing.revision

    async def reload_together(self, store: Store, *prefixes: str) -> int:
        """Read whole tables anew, all at one revision, which is the answer. For tables without an entry for each address."""
        result = await store.txn([], [Get(prefix, prefix=prefix.endswith("/")) for prefix in prefixes])
        for prefix, items in zip(prefixes, result.gets, strict=True):
            self._tables[prefix].refresh(Listing(result.revision, items))
        return result.revision

    def node(self, name: str) -> Row[NodeRecord] | None:
        """A node by its name."""
        return self.nodes.rows.get(keys.NODES + name)

    def node_of(self, uid: str) -> Row[NodeRecord] | None:
        """The node of that incarnation; one of them, should a uid have been given to several."""
        return next((self.nodes.rows[key] for key in sorted(self._by_uid.get(uid, ()))), None)

    def in_force(self) -> Row[TopologyRecord] | None:
        """The topology, once one was applied."""
        return self.topology.rows.get(keys.TOPOLOGY)

    def require_topology(self) -> TopologyRecord:
        """The topology in force; raises Refused when none was applied yet."""
        row = self.in_force()
        if row is None:
            raise Refused("no topology was applied yet; apply one: romana topology apply FILE", reason="NO_TOPOLOGY")
        return row.value

    def holdings(self, node: Row[NodeRecord], placement: Placement, share: Share = NOBODY) -> Holdings | None:
        """What the node has for that share in that network; None while it waits to be placed anew."""
        topology = self.in_force()
        if topology is None or placement not in self._standing_of(topology, node):
            return None
        return self.occupancy.holdings(node.value, placement, share)

    def may_hold(self, attachment: AttachmentId) -> bool:
        """Whether the attachment has addresses, as far as we have heard."""
        return attachment in self._held_by

    def _standing_of(self, topology: Row[TopologyRecord], node: Row[NodeRecord]) -> frozenset[Placement]:
        """Those of the node's placements that the topology agrees with; kept, as every allocation asks."""
        known = self._takes.get(node.key)
        if known is None or known[0] is not topology or known[1] is not node:
            standing = frozenset(place for place in node.value.placements if topology.value.takes(node.value, place))
            known = self._takes[node.key] = (topology, node, standing)
        return known[2]

    def standing_nodes(self, network: str, path: str) -> int:
        """How many nodes of a group take addresses. O(1)."""
        return len(self._standing.get((network, path), ()))

    def standing(self, network: str, path: str) -> list[tuple[NodeRecord, Placement]]:
        """The nodes of a group that take addresses, in the order of their names."""
        standing = self._standing.get((network, path), {})
        return [(self.nodes.rows[key].value, standing[key]) for key in sorted(standing)]

    def bare_nodes(self, network: str, path: str) -> int:
        """How many nodes of a group have no block there yet. O(nodes of the group)."""
        standing = self._standing.get((network, path), {})
        uids = ((self.nodes.rows[key].value.uid, placement) for key, placement in standing.items())
        return sum(not self.occupancy.has_block(uid, placement) for uid, placement in uids)

    def wait_for_block(self, network: str, path: str, name: str) -> None:
        """Note that the node would have a block ahead, had the group one to spare: it is due again when that may be so."""
        self._waiting.setdefault((network, path), set()).add(name)

    def due(self) -> dict[str, Uneven]:
        """The uneven nodes to look after now."""
        now_s = self._clock()
        return {name: uneven for name, uneven in self.uneven.items() if uneven.due_s <= now_s}

    def settle(self, name: str, looked_at: Uneven) -> None:
        """The node was looked after as it was then; without effect when something has changed for it since."""
        if self.uneven.get(name) == looked_at:
            del self.uneven[name]

    def _read_address(self, item: KeyValue) -> AddressRecord:
        ours = self._writing_now.get(item.key)
        return ours[1] if ours is not None and ours[0] == item.value else codec_address.read_address(item)

    def _table_of(self, key: str) -> Table[Any] | None:
        prefix, slash, _ = key.partition("/")
        return self._tables.get(prefix + slash)

    def _topology_changed(self, _: Row[TopologyRecord] | None, new: Row[TopologyRecord] | None) -> None:
        self.occupancy.set_topology(new.value.prefixes if new else ())
        self._reservation_changed(None, None)
        self._note(row.value.name for row in self.nodes.rows.values())

    def _node_changed(self, old: Row[NodeRecord] | None, new: Row[NodeRecord] | None) -> None:
        if old is not None:
            self._by_uid[old.value.uid].discard(old.key)
            if not self._by_uid[old.value.uid]:
                del self._by_uid[old.value.uid]
            self._takes.pop(old.key, None)
            for placement in old.value.placements:
                self._standing.get((placement.network, placement.path), {}).pop(old.key, None)
                self._freed((placement.network, placement.path))  # perhaps of a block that was kept for it
        if new is not None:
            self._by_uid.setdefault(new.value.uid, set()).add(new.key)
        if new is not None and not new.value.draining:
            for placement in new.value.placements:
                self._standing.setdefault((placement.network, placement.path), {})[new.key] = placement
        self._note(row.value.name for row in (old, new) if row)

    def _block_changed(self, old: Row[BlockRecord] | None, new: Row[BlockRecord] | None) -> None:
        self.occupancy.set_block(old, new)
        self._note(row.value.node for row in (old, new) if row)

    def _address_changed(self, old: Row[AddressRecord] | None, new: Row[AddressRecord] | None) -> None:
        self.occupancy.set_address(old, new)
        if old is not None and old.value.attachment is not None and old.value.held:
            self._held_by.discard(old.value.attachment)
        if new is not None and new.value.attachment is not None and new.value.held:
            self._held_by.add(new.value.attachment)
        self._note(row.value.attachment.node for row in (old, new) if row and row.value.attachment)

    def _reservation_changed(self, _: Row[ReservationRecord] | None, __: Row[ReservationRecord] | None) -> None:
        topology = self.in_force()
        networks = topology.value.document.networks if topology else ()
        by_operator = [row.value.cidr for row in self.reservations.rows.values()]
        self.occupancy.set_reserved(
            {network.name: [*reserved_by_document(network), *reserved_by_operator(network, by_operator)] for network in networks}
        )
        for group in tuple(self._waiting):
            self._freed(group)

    def _freed(self, group: Group) -> None:
        self._note(self._waiting.pop(group, ()))

    def _note(self, names: Iterable[str]) -> None:
        now_s = self._clock()
        for name in names:
            due_s = now_s if self._writing else now_s + self._lag_s()
            known = self.uneven.get(name)
            self.uneven[name] = Uneven(min(due_s, known.due_s), known.changes + 1) if known else Uneven(due_s, 1)
