"""Reads what a check looks at: everything at one revision, or the keys around one suspect. It only reads."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from google.protobuf.message import DecodeError

from ipam import codec, codec_address
from ipam.check.snapshot import EndpointRecord, Kept, PodRecord, Snapshot
from ipam.holdings import Holding
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, PodId, endpoint_keys
from romana import keys
from romana.errors import InvalidInput, Refused
from romana.store.api import KeyValue, Store
from romana.v1 import store_pb2

__all__ = ["read_address", "read_attachment", "read_endpoint", "snapshot_of", "whole"]

Value = TypeVar("Value")

_FINISHED = frozenset({"Succeeded", "Failed"})


async def whole(store: Store) -> Snapshot:
    """All of the store at one revision, read in pages. Raises Unavailable, and FatalError for an unknown topology."""
    listing = await store.list("")
    return snapshot_of(listing.items, listing.revision)


def snapshot_of(items: Iterable[KeyValue], revision: int) -> Snapshot:
    """These keys as values; keys of other kinds, and those whose name is none of ours, are passed over."""
    found: dict[str, list[KeyValue]] = {}
    for item in items:
        prefix, slash, _ = item.key.partition("/")
        found.setdefault(prefix + slash, []).append(item)
    topology = found.get(keys.TOPOLOGY, [])
    nodes = [_kept(item, codec.read_node(item)) for item in found.get(keys.NODES, [])]
    return Snapshot(
        revision,
        codec.read_topology(topology[0]) if topology else None,
        {kept.value.name: kept for kept in nodes},
        _readable(found.get(keys.BLOCKS, []), codec.read_block),
        _readable(found.get(keys.ADDRESSES, []), read_address),
        {item.key: _kept(item, read_attachment(item)) for item in found.get(keys.ATTACHMENTS, []) if item.key.count("/") == 4},
        {item.key: _kept(item, read_endpoint(item)) for item in found.get(keys.ENDPOINTS, [])},
        _readable(found.get(keys.RESERVATIONS, []), codec.read_reservation),
        {item.key: _kept(item, _pod(item)) for item in found.get(keys.PODS, [])},
        [_kept(item, _journal(item)) for item in found.get(keys.JOURNAL, [])],
    )


def read_endpoint(item: KeyValue) -> EndpointRecord:
    """An endpoint; one that cannot be read has nothing."""
    message = codec.parse(store_pb2.Endpoint, item)
    return EndpointRecord(tuple(message.addresses), message.node, message.host_interface)


def _kept(item: KeyValue, value: Value) -> Kept[Value]:
    return Kept(item.key, item.mod_revision, value)


def _readable(items: Iterable[KeyValue], read: Callable[[KeyValue], Value]) -> dict[str, Kept[Value]]:
    found = {}
    for item in items:
        try:
            found[item.key] = _kept(item, read(item))
        except InvalidInput:
            continue  # its name is none of ours: it says nothing
    return found


def read_address(item: KeyValue) -> AddressRecord:
    """An address; one whose holder has names that are none names nobody."""
    record = codec_address.read_address(item)
    named = record.attachment is not None and _is_named(record.attachment, record.pod)
    return record if named else replace(record, attachment=None, pod=None)


def read_attachment(item: KeyValue) -> AttachmentRecord | None:
    """An attachment; None when it cannot be read."""
    try:
        record = codec_address.read_attachment(item)
    except Refused:
        return None
    return record if _is_named(record.id, record.pod) else None


def _is_named(attachment: AttachmentId, pod: PodId | None) -> bool:
    """Whether all keys that follow from it can be: a damaged value may have names that are none."""
    try:
        return bool(attachment.key and endpoint_keys(attachment, pod) and (pod is None or keys.pod(pod.namespace, pod.name)))
    except InvalidInput:
        return False


def _pod(item: KeyValue) -> PodRecord:
    message = codec.parse(store_pb2.Pod, item)
    return PodRecord(message.uid, message.node, message.phase in _FINISHED)


def _journal(item: KeyValue) -> tuple[Holding, str] | None:
    try:
        store_pb2.JournalRecord.FromString(item.value)
    except DecodeError:
        return None
    return codec_address.read_journal(item)
