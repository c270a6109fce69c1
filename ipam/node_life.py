"""The later life of a node: drained, taken back, removed; and the blocks of those that are no more.

    add ──→ READY ──drain──→ DRAINING ──(no attachment is left, or all are released by force)──remove──→ gone
              ↑─────undo────────┘                                                 its blocks ──all cooled──→ free

A node that drains gets no new addresses; what runs on it goes on. It is removed in one transaction that compares that no
attachment is left. Its blocks stay its uid's until every address in them has cooled down; then `give_back_orphans` deletes them.
Nobody can have taken an address of such a block meanwhile: an allocation compares the node that owns it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipam import codec_address, transactions
from ipam.commit import Txn
from ipam.orphans import orphans
from ipam.reads import Reader
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, BlockRecord, NodeRecord
from ipam.releasing import Releases
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused, Unavailable
from romana.store.api import Store

__all__ = ["NodeLife", "Removed"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
SHOWN_MAX = 8  # attachments named in a refusal
RELEASES_AT_ONCE = 64
FORGOTTEN_MAX = 100  # addresses deleted in one transaction; of 128 operations


@dataclass(frozen=True, slots=True)
class Removed:
    """The answer."""

    removed: bool
    """False when there was no such node, or not any more."""
    released: int
    """Attachments that were released by force."""
    revision: int


class NodeLife:
    """One at a time in this process: `lock` is also held while a node is added or a topology applied."""

    def __init__(self, store: Store, reader: Reader, state: State, releases: Releases, lock: asyncio.Lock) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._releases = releases
        self._lock = lock

    async def drain(self, name: str, *, draining: bool) -> tuple[NodeRecord, int]:
        """Let the node have no new addresses, or again; the node, and a revision at which that is so. Idempotent.

        Raises NotFound; Conflict and Unavailable when it may succeed later.
        """
        self._state.require_whole()
        async with self._lock:
            for _ in range(ATTEMPTS):
                revision, row = await self._known(name)
                if row.value.draining == draining:
                    return row.value, revision
                txn = transactions.change_node(row, replace(row.value, draining=draining))
                try:
                    result = await self._store.txn(txn.compares, txn.writes, txn.reads)
                except Ambiguous:
                    continue  # whether it came is read next
                if result.succeeded:
                    self._state.committed(txn, result.revision)
                    log.info("node drains" if draining else "node takes pods again", extra={"node": name})
                    return replace(row.value, draining=draining), result.revision
        raise Conflict(f"node {name} was not changed: {ATTEMPTS} times something else changed it meanwhile; try again")

    async def remove(self, name: str, *, uid: str = "", force: bool = False) -> Removed:
        """Remove this incarnation of the node (`uid` empty: the one that is there). Idempotent.

        Without `force` it must have no attachment; with it, these are released: only for a machine that is gone, else its pods go
        on with addresses that others get once they have cooled. Raises Refused with the attachments that are left, and for
        another incarnation; Conflict and Unavailable when it may succeed later.
        """
        self._state.require_whole()
        removal = _Removal(uid)
        for _ in range(ATTEMPTS):
            revision, found = await self._reader.read(keys.node(name), keys.RESTORED)
            if found[keys.RESTORED] is not None:
                raise Unavailable("the store was restored, and nodes re-assert what lives: romana ipam recovery; then try again")
            row = self._state.node(name)
            if row is None or removal.is_over(row.value):
                return Removed(removal.began, removal.released, revision)
            if row.value.uid != removal.pinned(row.value):
                raise Refused(
                    f"node {name} is another incarnation (uid {row.value.uid}, not {uid}); look at it: romana node show {name}",
                    reason="NODE_REPLACED",
                )
            removed = await self._attempt(row, removal, force=force)
            if removed is not None:
                log.warning("node removed", extra={"node": name, "uid": removal.uid, "released": removal.released})
                return Removed(True, removal.released, removed)
        raise Conflict(f"node {name} was not removed: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _attempt(self, row: Row[NodeRecord], removal: "_Removal", *, force: bool) -> int | None:
        """The revision at which the node is gone; None when something was in the way, or its answer was lost."""
        name = row.value.name
        if not row.value.draining:  # from then on nothing is added to what is looked at
            await self._write(transactions.change_node(row, replace(row.value, draining=True)))
            return None
        left = await self._attachments(row.value)
        if left and not force:
            raise _still_used(name, left)
        removal.released += await self._release([record.id for record in left])
        removal.began = True  # should the answer be lost, a node that is gone then went by our hand
        return await self._write(transactions.remove_node(row))

    async def _write(self, txn: Txn) -> int | None:
        async with self._lock:
            try:
                result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            except Ambiguous:
                return None  # whether it came is read next
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                return None
            self._state.committed(txn, result.revision)
            return result.revision

    async def give_back_orphans(self) -> int:
        """Delete blocks of incarnations that are no more, once nothing of them is held or cools; the answer is how many."""
        if not any(self._cooled(addresses) is not None for _, addresses in orphans(self._state)):
            return 0
        # The watches of blocks and of addresses are two: an address of such a block may not have been heard of yet.
        await self._state.reload(self._store, keys.ADDRESSES)
        ready = [(block, cooled) for block, found in orphans(self._state) if (cooled := self._cooled(found)) is not None]
        return sum([await self._give_back(block, cooled) for block, cooled in ready])

    async def _give_back(self, block: Row[BlockRecord], cooled: Sequence[Row[AddressRecord]]) -> bool:
        while len(cooled) > FORGOTTEN_MAX:
            if await self._write(transactions.forget(cooled[:FORGOTTEN_MAX])) is None:
                return False
            cooled = cooled[FORGOTTEN_MAX:]
        owner = self._state.node(block.value.node)
        if await self._write(transactions.give_back_orphan(block, keys.node(block.value.node), owner, cooled)) is None:
            return False
        fields = {"block": str(block.value.cidr), "network": block.value.network, "node": block.value.node}
        log.info("block of a node that is gone is given back", extra=fields)
        return True

    def _cooled(self, addresses: Sequence[Row[AddressRecord]]) -> Sequence[Row[AddressRecord]] | None:
        """All of them, when none is held and none cools; else None."""
        resting = all(not row.value.held and not self._state.occupancy.is_cooling(row.key) for row in addresses)
        return addresses if resting else None

    async def _known(self, name: str) -> tuple[int, Row[NodeRecord]]:
        revision, _ = await self._reader.read(keys.node(name))
        row = self._state.node(name)
        if row is None:
            raise NotFound(f"node {name} is not known (no key {keys.node(name)}); romana node list shows those that are")
        return revision, row

    async def _attachments(self, node: NodeRecord) -> list[AttachmentRecord]:
        """Those of this incarnation."""
        listing = await self._store.list(f"{keys.ATTACHMENTS}{node.name}/")
        records = map(codec_address.read_attachment, listing.items)
        return [record for record in records if record.node_uid in {"", node.uid}]

    async def _release(self, left: Sequence[AttachmentId]) -> int:
        count = 0
        for start in range(0, len(left), RELEASES_AT_ONCE):
            found = await asyncio.gather(*map(self._releases.release, left[start : start + RELEASES_AT_ONCE]))
            count += sum(released.released for released in found)
        return count


@dataclass(slots=True)
class _Removal:
    """How far a removal is."""

    uid: str
    """Of the incarnation that is removed; empty until it was looked at."""
    began: bool = False
    """Whether its deletion was sent."""
    released: int = 0

    def pinned(self, node: NodeRecord) -> str:
        """The uid to remove: the first that was seen, where none was given."""
        self.uid = self.uid or node.uid
        return self.uid

    def is_over(self, node: NodeRecord) -> bool:
        """Whether the node of that name is another by now, after ours was deleted."""
        return self.began and node.uid != self.uid


def _still_used(name: str, left: Sequence[AttachmentRecord]) -> Refused:
    shown = ", ".join(map(_shown, left[:SHOWN_MAX]))
    more = f" and {len(left) - SHOWN_MAX} more" if len(left) > SHOWN_MAX else ""
    cure = "delete its pods (kubectl drain), or, only when the machine is gone for good, use --force"
    return Refused(f"node {name} drains, and {len(left)} attachments are left: {shown}{more}; {cure}", reason="NODE_IN_USE")


def _shown(left: AttachmentRecord) -> str:
    pod = f" of pod {left.pod.namespace}/{left.pod.name}" if left.pod else ""
    return f"{left.id.container_id}/{left.id.ifname}{pod}"
