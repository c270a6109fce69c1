"""The later life of a node: drained, taken back, removed; and the blocks of those that are no more.

    add ──→ READY ──drain──→ DRAINING ──(no attachment is left, or all are released by force)──remove──→ gone
              ↑─────undo────────┘                                                 its blocks ──all cooled──→ free

A node that drains gets no new addresses; what runs on it goes on. It is removed in one transaction that compares that no
attachment is left. Its blocks stay its uid's until every address in them has cooled down; then `give_back_orphans` deletes them.
Nobody can have taken an address of such a block meanwhile: an allocation compares the node that owns it.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ipam import codec_address, transactions
from ipam.reads import Reader
from ipam.records import AddressRecord, AttachmentId, BlockRecord, NodeRecord
from ipam.releasing import Releases
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused
from romana.store.api import Store
from romana.store.limits import MAX_OPS

__all__ = ["NodeLife", "Removed"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
SHOWN_MAX = 8  # attachments named in a refusal
RELEASES_AT_ONCE = 64
OPS_MAX = MAX_OPS - 8  # beside the addresses of a block that is given back


@dataclass(frozen=True, slots=True)
class Removed:
    """The answer."""

    removed: bool
    """False when the node was not there."""
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

    async def remove(self, name: str, *, force: bool) -> Removed:
        """Remove the node. Idempotent. Without `force` it must have no attachment; with it, these are released.

        That is only for a machine that is gone, else its pods go on with addresses that others get once they have cooled.

        Raises Refused with the attachments that are left; Conflict and Unavailable when it may succeed later.
        """
        released = 0
        for _ in range(ATTEMPTS):
            try:
                await self.drain(name, draining=True)  # from here on nothing is added to what is looked at
            except NotFound:
                revision, _ = await self._reader.read(keys.node(name))
                return Removed(released > 0, released, revision)
            left = await self._attachments(name)
            if left and not force:
                raise _still_used(name, left)
            released += await self._release(left)
            removed = await self._delete(name)
            if removed is not None:
                log.warning("node removed", extra={"node": name, "released": released})
                return Removed(True, released, removed)
        raise Conflict(f"node {name} was not removed: {ATTEMPTS} times something else changed meanwhile; try again")

    async def give_back_orphans(self) -> int:
        """Delete blocks of incarnations that are no more, once nothing of them is held or cools; the answer is how many."""
        given = 0
        for block, addresses in self._orphans():
            cooled = [row for row in addresses if not row.value.held and not self._state.occupancy.is_cooling(row.key)]
            if len(cooled) < len(addresses) or len(addresses) > OPS_MAX:
                continue
            owner = self._state.node(block.value.node)
            txn = transactions.give_back_orphan(block, keys.node(block.value.node), owner, cooled)
            result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                continue
            self._state.committed(txn, result.revision)
            given += 1
            fields = {"block": str(block.value.cidr), "network": block.value.network, "node": block.value.node}
            log.info("block of a node that is gone is given back", extra=fields)
        return given

    def _orphans(self) -> Iterable[tuple[Row[BlockRecord], list[Row[AddressRecord]]]]:
        """Blocks whose owner is no more, with the addresses in them. O(blocks + addresses) where there is one."""
        uids = {row.value.uid for row in self._state.nodes.rows.values()}
        orphans = [row for row in self._state.blocks.rows.values() if row.value.node_uid not in uids]
        if not orphans:
            return []
        inside: dict[tuple[str, object], list[Row[AddressRecord]]] = {}
        for address in self._state.addresses.rows.values():
            inside.setdefault((address.value.network, address.value.block), []).append(address)
        return [(row, inside.get((row.value.network, row.value.cidr), [])) for row in orphans]

    async def _known(self, name: str) -> tuple[int, Row[NodeRecord]]:
        revision, _ = await self._reader.read(keys.node(name))
        row = self._state.node(name)
        if row is None:
            raise NotFound(f"node {name} is not known (no key {keys.node(name)}); romana node list shows those that are")
        return revision, row

    async def _attachments(self, name: str) -> list[AttachmentId]:
        listing = await self._store.list(f"{keys.ATTACHMENTS}{name}/")
        return [codec_address.read_attachment(item).id for item in listing.items]

    async def _release(self, left: Sequence[AttachmentId]) -> int:
        count = 0
        for start in range(0, len(left), RELEASES_AT_ONCE):
            found = await asyncio.gather(*map(self._releases.release, left[start : start + RELEASES_AT_ONCE]))
            count += sum(released.released for released in found)
        return count

    async def _delete(self, name: str) -> int | None:
        """The revision at which the node is gone; None when something was in the way."""
        async with self._lock:
            row = self._state.node(name)
            if row is None:
                return None
            txn = transactions.remove_node(row)
            try:
                result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            except Ambiguous:
                return None  # whether it came is read next
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                return None
            self._state.committed(txn, result.revision)
            return result.revision


def _still_used(name: str, left: Sequence[AttachmentId]) -> Refused:
    shown = ", ".join(f"{key.container_id}/{key.ifname}" for key in left[:SHOWN_MAX])
    more = f" and {len(left) - SHOWN_MAX} more" if len(left) > SHOWN_MAX else ""
    cure = "delete its pods (kubectl drain), or, only when the machine is gone for good, use --force"
    return Refused(f"node {name} drains, and {len(left)} attachments are left: {shown}{more}; {cure}", reason="NODE_IN_USE")
