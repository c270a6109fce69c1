"""What an attempt to give addresses starts from and ends in, and the steps that every attempt takes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ipam import codec_address, transactions
from ipam.allocator import PickKind
from ipam.commit import Txn
from ipam.demand import Demand, demand_of
from ipam.history import UNSEEN, Seen
from ipam.picker import Picked
from ipam.records import AttachmentId, AttachmentRecord, NodeRecord, PodId
from ipam.state import State
from romana import keys
from romana.errors import NotFound, Refused
from romana.store.api import KeyValue
from romana.v1.store_pb2 import Pod

__all__ = ["Decided", "Granted", "Wanted", "checked_pod", "demand", "existing", "tell", "transaction"]

log = logging.getLogger("ipam.allocation")


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
class Decided:
    """What an allocation was decided on: taken before the pick, as that may wait for a block."""

    node_uid: str
    topology: int
    """Its mod_revision."""
    reservations: int
    """The revision up to which all were known."""

    @classmethod
    def on(cls, state: State, node: NodeRecord) -> "Decided":
        """What is known now."""
        topology = state.in_force()
        return cls(node.uid, topology.mod_revision if topology else 0, state.reservations.revision)


def checked_pod(item: KeyValue | None, pod: PodId) -> Pod:
    """The pod's object; raises NotFound when it is not there, or is another pod of that name."""
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
    return message


def demand(wanted: Wanted, pod: Pod | None) -> Demand:
    """What the request wants of its addresses."""
    if wanted.pod is None or pod is None:
        return demand_of("", {}, {}, wanted.networks)
    return demand_of(wanted.pod.namespace, pod.labels, pod.annotations, wanted.networks)


def transaction(
    state: State, wanted: Wanted, decided: Decided, picked: Sequence[Picked], endpoint_key: str, pod: KeyValue | None, now_ms: int
) -> tuple[AttachmentRecord, Txn] | None:
    """What to write for what was picked; None when its node or a block is not what it was."""
    node = state.node(wanted.attachment.node)
    addresses = tuple(each.address for each in picked)
    blocks = [state.blocks.rows.get(address.block_key) for address in addresses]
    # The pick may have waited for a block: the node may drain by now, or be another than the one that asked.
    if node is None or node.value.draining or node.value.uid != decided.node_uid or None in blocks:
        return None
    if not all(_is_as_picked(state, each) for each in picked):
        return None
    record = AttachmentRecord(wanted.attachment, node.value.uid, wanted.boot_id, wanted.pod, addresses, now_ms)
    rows = [state.addresses.rows.get(address.key) for address in addresses]
    taken = [(row, block) for row, block in zip(rows, blocks, strict=True) if block is not None]
    txn = transactions.allocate(record, node, taken, endpoint_key, pod, decided.reservations, decided.topology)
    state.writing(txn)  # the picker's `settle` ends it
    return record, txn


def _is_as_picked(state: State, picked: Picked) -> bool:
    """Whether the address may be taken still: it is compared as it is now, and not as it was when it was picked."""
    row = state.addresses.rows.get(picked.address.key)
    if row is None:
        return True
    early = picked.kind in {PickKind.STILL_COOLING, PickKind.FIXED}
    return not row.value.held and (early or not state.occupancy.is_cooling(picked.address.key))


def existing(item: KeyValue, wanted: Wanted, node: NodeRecord) -> Granted:
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


def tell(record: AttachmentRecord, picked: Sequence[Picked]) -> None:
    """A line for each is for debugging: the store and the journal say who has what, and at thousands a second lines are dear."""
    early = any(each.kind is PickKind.STILL_COOLING for each in picked)
    if early or log.isEnabledFor(logging.DEBUG):
        fields = {
            "attachment": str(record.id),
            "pod": str(record.pod or ""),
            "ips": [address.text for address in record.addresses],
        }
        if early:
            log.warning("address given out before its cool-down was over: the group is full", extra=fields)
        else:
            log.debug("address allocated", extra=fields)
