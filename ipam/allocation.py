"""Gives addresses to attachments: decide on the state, write in one transaction, and look again when something was in the way.

node known, same incarnation ──→ pod ──→ pick ──→ (claim a block) ──→ transaction ──→ answer
             ▲                                                             │ conflict, lost answer, refusal
             └──── ask the store: attachment there already? ───────────────┘
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ipam import codec_address, transactions
from ipam.allocator import PickKind
from ipam.commit import Committer, Txn
from ipam.demand import Demand, demand_of
from ipam.history import UNSEEN, Seen
from ipam.picker import Picked, Picker
from ipam.reads import Reader
from ipam.records import AttachmentId, AttachmentRecord, NodeRecord, PodId, address_key, block_key, endpoint_keys
from ipam.recovery import Recovery
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, Exhausted, InvalidInput, NotFound, Refused
from romana.store.api import Compare, KeyValue, Put, Store
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
    networks: tuple[str, ...] = ()
    """As the CNI configuration asks; empty: as the pod asks, or the topology."""
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


@dataclass(frozen=True, slots=True)
class _Decided:
    """What an allocation was decided on."""

    node_uid: str
    topology: int
    """Its mod_revision."""
    reservations: int
    """The revision up to which all were known."""


class Allocations:
    """`now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        state: State,
        committer: Committer,
        picker: Picker,
        recovery: Recovery,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._committer = committer
        self._picker = picker
        self._recovery = recovery
        self._now_ms = now_ms

    async def allocate(self, wanted: Wanted) -> Granted:
        """Give the attachment its addresses, or those that it has; durable before it returns. Idempotent.

        The first attempt trusts what was heard: the transaction finds out whether the attachment is there already. After any
        refusal or conflict the store is asked, so that a repeat is answered whatever has become of its node, pod or network.
        Raises NotFound, Refused, InvalidInput, Exhausted; Conflict and Unavailable when the same request may succeed later.
        """
        self._state.require_whole()
        look = self._state.may_hold(wanted.attachment)
        for _ in range(ATTEMPTS):
            try:
                granted = await self._attempt(wanted, look)
            except (NotFound, Refused, InvalidInput, Exhausted):
                if look:
                    raise
                granted = None
            if granted is not None:
                return granted
            if look:  # what was in the way is known, but for a reservation or a topology: these are not read with each conflict
                await self._state.reload(self._store, keys.RESERVATIONS)
                await self._state.reload(self._store, keys.TOPOLOGY)
            look = True
        raise Conflict(f"no address for {wanted.attachment}: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _attempt(self, wanted: Wanted, look: bool) -> Granted | None:
        node = await self._node(wanted)
        endpoint_key, full = endpoint_keys(wanted.attachment, wanted.pod)
        pod_keys = [keys.pod(wanted.pod.namespace, wanted.pod.name)] if wanted.pod else []
        asked = [wanted.attachment.key, endpoint_key, node.key, *pod_keys] if look else pod_keys
        asker = f"the agent of node {wanted.attachment.node}"
        history, found = await self._recovery.allowed(wanted.seen, asker, *asked)
        if look and (item := found[wanted.attachment.key]) is not None:
            granted = await self._standing(item, wanted, node)
            return replace(granted, history=history) if granted else None
        if look and found[endpoint_key] is not None:
            endpoint_key = full
        pod = _checked_pod(found[pod_keys[0]], wanted.pod) if wanted.pod else None
        # Both before the pick: of a pair, one is picked while the other's block is claimed.
        topology, seen = self._state.in_force(), self._state.reservations.revision
        picked = await self._picker.reserve(node.value.name, _demand(wanted, pod[1] if pod else None))
        try:
            decided = _Decided(node.value.uid, topology.mod_revision if topology else 0, seen)
            granted = await self._write(wanted, decided, picked, endpoint_key, pod[0] if pod else None)
            return replace(granted, history=history) if granted else None
        finally:
            self._picker.settle(picked)

    async def _node(self, wanted: Wanted) -> Row[NodeRecord]:
        """The node, fenced by its incarnation; asks the store before it says no."""
        name = wanted.attachment.node
        row = self._state.node(name)
        if row is None or wanted.node_uid not in {"", row.value.uid}:
            await self._reader.read(keys.node(name))
            row = self._state.node(name)
        if row is None:
            raise NotFound(
                f"node {name} is not known (no key {keys.node(name)}); add it first: romana node add {name}",
                reason="NODE_UNKNOWN",
            )
        if wanted.node_uid not in {"", row.value.uid}:
            raise Refused(
                f"node {name} is now another incarnation: its uid is {row.value.uid}, the request is from {wanted.node_uid}",
                reason="NODE_REPLACED",
            )
        return row

    async def _write(
        self, wanted: Wanted, decided: _Decided, picked: Sequence[Picked], endpoint_key: str, pod: KeyValue | None
    ) -> Granted | None:
        """Write what was picked; None when something was in the way, which is known now."""
        node = self._state.node(wanted.attachment.node)
        addresses = tuple(each.address for each in picked)
        blocks = [self._state.blocks.rows.get(block_key(address.network, address.block)) for address in addresses]
        # The pick may have waited for a block: the node may drain by now, or be another than the one that asked.
        if node is None or node.value.draining or node.value.uid != decided.node_uid or None in blocks:
            return None
        if not all(self._is_as_picked(each) for each in picked):
            return None
        record = AttachmentRecord(wanted.attachment, node.value.uid, wanted.boot_id, wanted.pod, addresses, self._now_ms())
        rows = [self._state.addresses.rows.get(address_key(address.network, address.ip)) for address in addresses]
        taken = [(row, block) for row, block in zip(rows, blocks, strict=True) if block is not None]
        txn = transactions.allocate(record, node, taken, endpoint_key, pod, decided.reservations, decided.topology)
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return await self._read_back(wanted, record)
        if result.succeeded:
            _log(record, picked)
            return Granted(record, result.revision, existing=False)
        item = self._state.learn(txn.reads, result)[wanted.attachment.key]
        return await self._standing(item, wanted, node) if item is not None else None

    async def _standing(self, item: KeyValue, wanted: Wanted, node: Row[NodeRecord]) -> Granted | None:
        """The answer that was given before, of the boot that asks now; None when something was in the way.

        What is dead is released by comparing that nothing was written since (ipam.check.liveness). So an ADD that is about to
        make the interface anew must not rest on an attachment of an earlier boot, or of a node that was removed meanwhile.
        """
        there = self._state.node(node.value.name)
        if there is None or there.value.uid != node.value.uid:
            return None
        granted = _existing(item, wanted, node.value)
        if not wanted.boot_id or granted.record.boot_id == wanted.boot_id:
            return granted
        record = replace(granted.record, boot_id=wanted.boot_id)
        key = record.id.key
        txn = Txn((Compare.at(key, granted.revision),), (Put(key, codec_address.write_attachment(record)),))
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return None  # the next look sees whether it came
        return replace(granted, record=record, revision=result.revision) if result.succeeded else None

    def _is_as_picked(self, picked: Picked) -> bool:
        """Whether the address may be taken still: it is compared as it is now, and not as it was when it was picked."""
        key = address_key(picked.address.network, picked.address.ip)
        row = self._state.addresses.rows.get(key)
        if row is None:
            return True
        early = picked.kind in {PickKind.STILL_COOLING, PickKind.FIXED}
        return not row.value.held and (early or not self._state.occupancy.is_cooling(key))

    async def _read_back(self, wanted: Wanted, record: AttachmentRecord) -> Granted | None:
        """What became of a write whose answer was lost; None when it is not there (should it come late, the next conflicts)."""
        wrote = [*(address_key(address.network, address.ip) for address in record.addresses), record.id.key]
        _, found = await self._reader.read(*wrote, keys.node(record.id.node))
        item, node = found[record.id.key], self._state.node(record.id.node)
        if item is None or node is None:
            return None
        granted = await self._standing(item, wanted, node)
        return replace(granted, existing=granted.record != record) if granted else None


def _existing(item: KeyValue, wanted: Wanted, node: NodeRecord) -> Granted:
    """The answer that was given before; raises Refused when it was given to somebody else."""
    record = codec_address.read_attachment(item)
    if record.node_uid != node.uid:
        raise Refused(
            f"attachment {record.id} is of another incarnation of the node (uid {record.node_uid}); release it first",
            reason="ATTACHMENT_TAKEN",
        )
    if (record.pod is None) != (wanted.pod is None) or (record.pod and wanted.pod and not record.pod.same(wanted.pod)):
        raise Refused(
            f"attachment {record.id} belongs to {record.pod or 'no pod'}, not to {wanted.pod or 'none'}; release it first",
            reason="ATTACHMENT_TAKEN",
        )
    return Granted(record, item.mod_revision, existing=True)


def _checked_pod(item: KeyValue | None, pod: PodId) -> tuple[KeyValue, Pod]:
    key = keys.pod(pod.namespace, pod.name)
    if item is None:
        raise NotFound(
            f"pod {pod} is not in the store (no key {key}); it must be there before it gets an address", reason="POD_UNKNOWN"
        )
    message = Pod.FromString(item.value)
    if pod.uid and message.uid and message.uid != pod.uid:
        raise NotFound(
            f"pod {pod} is not in the store: key {key} has another pod of that name, of uid {message.uid}", reason="POD_REPLACED"
        )
    return item, message


def _demand(wanted: Wanted, pod: Pod | None) -> Demand:
    namespace = wanted.pod.namespace if wanted.pod else ""
    labels, annotations = (pod.labels, pod.annotations) if pod else ({}, {})
    return demand_of(namespace, labels, annotations, wanted.networks)


def _log(record: AttachmentRecord, picked: Sequence[Picked]) -> None:
    """A line for each is for debugging: the store and the journal say who has what, and at thousands a second lines are dear."""
    early = any(each.kind is PickKind.STILL_COOLING for each in picked)
    if early or log.isEnabledFor(logging.DEBUG):
        ips = [str(address.ip) for address in record.addresses]
        fields = {"attachment": str(record.id), "pod": str(record.pod or ""), "ips": ips}
        if early:
            log.warning("address given out before its cool-down was over: the group is full", extra=fields)
        else:
            log.debug("address allocated", extra=fields)
