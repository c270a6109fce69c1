"""Addresses, attachments, endpoints and the journal as the store's bytes (romana.v1.store), and back. See `ipam.codec`."""

from functools import lru_cache
from ipaddress import ip_address, ip_network
from sys import intern

from ipam.codec import parse, timestamp, unreadable
from ipam.holdings import Holding
from ipam.records import AddressRecord, Assigned, AttachmentId, AttachmentRecord, PodId
from romana import keys
from romana.errors import InvalidInput, Refused
from romana.store.api import KeyValue
from romana.v1 import store_pb2

__all__ = [
    "assigned_message",
    "attachment_id",
    "attachment_key_message",
    "pod_message",
    "read_address",
    "read_attachment",
    "read_journal",
    "write_address",
    "write_attachment",
    "write_endpoint",
    "write_journal",
]


_block = lru_cache(maxsize=32768)(ip_network)  # one object for all addresses of a block


def read_address(item: KeyValue) -> AddressRecord:
    """An address; one that cannot be read is held, by nobody we know."""
    message = parse(store_pb2.Address, item)
    network, ip = keys.parse_address(item.key)
    try:
        block = _block(message.block)
    except ValueError as err:
        unreadable(item, err)
        return AddressRecord(intern(network), ip, ip_network(ip), None, None, 0)
    network = intern(network)
    attachment = attachment_id(message.attachment) if message.HasField("attachment") else None
    record = AddressRecord(network, ip, block, attachment, _pod(message), message.since.ToMilliseconds())
    if message.state != store_pb2.ADDRESS_STATE_COOLING:
        return record
    released = message.released.ToMilliseconds()
    return AddressRecord(network, ip, block, attachment, record.pod, record.since_ms, released, message.cooldown_s)


def write_address(record: AddressRecord) -> bytes:
    """Value of `addresses/<network>/<ip>`."""
    state = store_pb2.ADDRESS_STATE_HELD if record.held else store_pb2.ADDRESS_STATE_COOLING
    message = store_pb2.Address(state=state, block=str(record.block), since=timestamp(record.since_ms))
    if record.attachment:
        message.attachment.CopyFrom(attachment_key_message(record.attachment))
    if record.pod:
        message.pod.CopyFrom(pod_message(record.pod))
    if record.released_ms is not None:
        message.released.CopyFrom(timestamp(record.released_ms))
        message.cooldown_s = record.cooldown_s
    return message.SerializeToString()


def read_attachment(item: KeyValue) -> AttachmentRecord:
    """An attachment; raises Refused when it is not one: answering for it would be a guess."""
    message = parse(store_pb2.Attachment, item)
    try:
        addresses = tuple(Assigned(entry.network, ip_address(entry.ip), ip_network(entry.block)) for entry in message.addresses)
        key = attachment_id(message.key).key
    except (ValueError, InvalidInput) as err:
        raise Refused(f"key {item.key!r} in the store is damaged: {err}") from err
    if key != item.key:
        raise Refused(f"key {item.key!r} in the store is damaged: it says that it is {key!r}")
    created_ms = message.created.ToMilliseconds()
    return AttachmentRecord(attachment_id(message.key), message.node_uid, message.boot_id, _pod(message), addresses, created_ms)


def write_attachment(record: AttachmentRecord) -> bytes:
    """Value of `attachments/<node>/<conf>/<container>/<ifname>`."""
    message = store_pb2.Attachment(
        key=attachment_key_message(record.id),
        node_uid=record.node_uid,
        boot_id=record.boot_id,
        addresses=[assigned_message(address) for address in record.addresses],
        host_interface=record.id.host_interface,
        created=timestamp(record.created_ms),
    )
    if record.pod:
        message.pod.CopyFrom(pod_message(record.pod))
    return message.SerializeToString()


def write_endpoint(record: AttachmentRecord) -> bytes:
    """Value of the attachment's endpoint."""
    return store_pb2.Endpoint(
        addresses=[str(address.ip) for address in record.addresses],
        node=record.id.node,
        pod_uid=record.pod.uid if record.pod else "",
        host_interface=record.id.host_interface,
    ).SerializeToString()


def write_journal(record: AddressRecord) -> bytes:
    """Value of the journal's entry for an address that was released."""
    message = store_pb2.JournalRecord(network=record.network, ip=str(record.ip), since=timestamp(record.since_ms))
    if record.attachment:
        message.attachment.CopyFrom(attachment_key_message(record.attachment))
    if record.pod:
        message.pod.CopyFrom(pod_message(record.pod))
    if record.released_ms is not None:
        message.until.CopyFrom(timestamp(record.released_ms))
    return message.SerializeToString()


def read_journal(item: KeyValue) -> tuple[Holding, str]:
    """An entry of the journal, and the address that it is of."""
    message = parse(store_pb2.JournalRecord, item)
    attachment = attachment_id(message.attachment) if message.HasField("attachment") else None
    span = (message.since.ToMilliseconds(), message.until.ToMilliseconds())
    return Holding(message.network, attachment, _pod(message), *span), message.ip


def assigned_message(address: Assigned) -> store_pb2.AssignedAddress:
    """An assigned address as the API shows it."""
    return store_pb2.AssignedAddress(network=address.network, ip=str(address.ip), block=str(address.block))


def attachment_id(message: store_pb2.AttachmentKey) -> AttachmentId:
    """The CNI key, as it stands."""
    # 150,000 of these are kept; what many share is kept once.
    return AttachmentId(intern(message.node), intern(message.conf), message.container_id, intern(message.ifname))


def attachment_key_message(key: AttachmentId) -> store_pb2.AttachmentKey:
    """The CNI key as the API shows it."""
    return store_pb2.AttachmentKey(node=key.node, conf=key.conf, container_id=key.container_id, ifname=key.ifname)


def pod_message(pod: PodId) -> store_pb2.PodRef:
    """The pod as the API shows it."""
    return store_pb2.PodRef(namespace=pod.namespace, name=pod.name, uid=pod.uid)


def _pod(message: store_pb2.Address | store_pb2.Attachment | store_pb2.JournalRecord) -> PodId | None:
    return PodId(message.pod.namespace, message.pod.name, message.pod.uid) if message.HasField("pod") else None
