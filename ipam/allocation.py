"""Gives addresses to attachments: decide on the state, write in one transaction, and look again when something was in the way.

node known, same incarnation ──→ attachment there already? ──→ pick ──→ (claim a block) ──→ transaction ──→ answer
             ▲                                                                                │ conflict, lost answer
             └────────────────────────────────── learn what is in the way ────────────────────┘
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from ipam import codec_address, transactions
from ipam.allocator import PickKind
from ipam.commit import Committer
from ipam.history import UNSEEN, Seen
from ipam.picker import Picker
from ipam.reads import Reader
from ipam.records import Assigned, AttachmentId, AttachmentRecord, NodeRecord, PodId, endpoint_keys
from ipam.recovery import Recovery
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused
from romana.store.api import KeyValue
from romana.v1.store_pb2 import Pod

__all__ = ["Allocations", "Granted", "Wanted"]

log = logging.getLogger(__name__)

ATTEMPTS = 20  # every failed one taught us what was in the way


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for addresses."""

    attachment: AttachmentId
    node_uid: str = ""
    """The incarnation that asks; empty: whichever is there."""
    boot_id: str = ""
    pod: PodId | None = None
    seen: Seen = UNSEEN
    """How far the node's agent has seen the store."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer."""

    record: AttachmentRecord
    revision: int
    """Of the attachment."""
    existing: bool
    history: str = ""
    """Which the revision belongs to."""


class Allocations:
    """`now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        committer: Committer,
        picker: Picker,
        recovery: Recovery,
        now_ms: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._state = state
        self._committer = committer
        self._picker = picker
        self._recovery = recovery
        self._now_ms = now_ms

    async def allocate(self, wanted: Wanted) -> Granted:
        """Give the attachment its addresses, or those that it has; durable before it returns. Idempotent.

        Raises NotFound, Refused, Exhausted; Conflict and Unavailable when the same request may succeed later.
        """
        self._state.require_whole()
        for _ in range(ATTEMPTS):
            granted = await self._attempt(wanted)
            if granted is not None:
                return granted
        raise Conflict(f"no address for {wanted.attachment}: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _attempt(self, wanted: Wanted) -> Granted | None:
        node = await self._node(wanted)
        pod_keys = [keys.pod(wanted.pod.namespace, wanted.pod.name)] if wanted.pod else []
        plain, full = endpoint_keys(wanted.attachment, wanted.pod)
        asker = f"the agent of node {wanted.attachment.node}"
        history, found = await self._recovery.allowed(wanted.seen, asker, wanted.attachment.key, plain, *pod_keys)
        if (item := found[wanted.attachment.key]) is not None:
            return replace(_existing(item, wanted, node.value), history=history)
        pod = _checked_pod(found[pod_keys[0]], wanted.pod) if wanted.pod else None
        placement, pick = await self._picker.reserve(node.value.name, wanted.pod.namespace if wanted.pod else "")
        address = Assigned(placement.network, pick.ip, pick.block)
        try:
            granted = await self._write(wanted, address, pick.kind, full if found[plain] else plain, pod)
            return replace(granted, history=history) if granted else None
        finally:
            self._picker.settle(address)

    async def _node(self, wanted: Wanted) -> Row[NodeRecord]:
        """The node, fenced by its incarnation; asks the store before it says no."""
        name = wanted.attachment.node
        row = self._state.node(name)
        if row is None or wanted.node_uid not in {"", row.value.uid}:
            await self._reader.read(keys.node(name))
            row = self._state.node(name)
        if row is None:
            raise NotFound(f"node {name} is not known (no key {keys.node(name)}); add it first: romana node add {name}")
        if wanted.node_uid not in {"", row.value.uid}:
            raise Refused(
                f"node {name} is now another incarnation: its uid is {row.value.uid}, the request is from {wanted.node_uid}"
            )
        return row

    async def _write(
        self, wanted: Wanted, address: Assigned, kind: PickKind, endpoint_key: str, pod: KeyValue | None
    ) -> Granted | None:
        """Write what was picked; None when something was in the way, which is known now."""
        node = self._state.node(wanted.attachment.node)
        block = self._state.blocks.rows.get(keys.block(address.network, address.block))
        if node is None or block is None:
            return None
        record = AttachmentRecord(wanted.attachment, node.value.uid, wanted.boot_id, wanted.pod, (address,), self._now_ms())
        row = self._state.addresses.rows.get(keys.address(address.network, address.ip))
        txn = transactions.allocate(record, node, [(row, block)], endpoint_key, pod)
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return await self._read_back(wanted, record)
        if result.succeeded:
            _log(record, kind)
            return Granted(record, result.revision, existing=False)
        item = self._state.learn(txn.reads, result)[wanted.attachment.key]
        return _existing(item, wanted, node.value) if item is not None else None

    async def _read_back(self, wanted: Wanted, record: AttachmentRecord) -> Granted | None:
        """What became of a write whose answer was lost; None when it is not there (should it come late, the next conflicts)."""
        address = record.addresses[0]
        wrote = [keys.address(address.network, address.ip), record.id.key]
        _, found = await self._reader.read(*wrote, keys.node(record.id.node))
        item, node = found[record.id.key], self._state.node(record.id.node)
        if item is None or node is None:
            return None
        granted = _existing(item, wanted, node.value)
        return replace(granted, existing=granted.record != record)


def _existing(item: KeyValue, wanted: Wanted, node: NodeRecord) -> Granted:
    """The answer that was given before; raises Refused when it was given to somebody else."""
    record = codec_address.read_attachment(item)
    if record.node_uid != node.uid:
        raise Refused(f"attachment {record.id} is of another incarnation of the node (uid {record.node_uid}); release it first")
    if (record.pod is None) != (wanted.pod is None) or (record.pod and wanted.pod and not record.pod.same(wanted.pod)):
        raise Refused(
            f"attachment {record.id} belongs to {record.pod or 'no pod'}, not to {wanted.pod or 'none'}; release it first"
        )
    return Granted(record, item.mod_revision, existing=True)


def _checked_pod(item: KeyValue | None, pod: PodId) -> KeyValue:
    key = keys.pod(pod.namespace, pod.name)
    if item is None:
        raise NotFound(f"pod {pod} is not in the store (no key {key}); it must be there before it gets an address")
    uid = Pod.FromString(item.value).uid
    if pod.uid and uid and uid != pod.uid:
        raise NotFound(f"pod {pod} is not in the store: key {key} has another pod of that name, of uid {uid}")
    return item


def _log(record: AttachmentRecord, kind: PickKind) -> None:
    fields = {"attachment": str(record.id), "pod": str(record.pod or ""), "ip": str(record.addresses[0].ip)}
    if kind is PickKind.STILL_COOLING:
        log.warning("address given out before its cool-down was over: the group is full", extra=fields)
    else:
        log.info("address allocated", extra=fields)
