"""Requests of the recovery as values, checked field by field (see `ipam.requests`)."""

from ipaddress import ip_address, ip_network

from google.protobuf.timestamp_pb2 import Timestamp

from ipam.codec_address import attachment_id
from ipam.history import Seen
from ipam.reasserts import Lives
from ipam.records import Assigned, AttachmentRecord, PodId
from ipam.requests import faults_of_attachment, faults_of_life, faults_of_pod, read_node_name, refuse
from romana.errors import Fault, InvalidInput
from romana.v1.ipam_pb2 import ReassertRequest
from romana.v1.store_pb2 import AssignedAddress, Attachment

__all__ = ["read_reassert"]


def read_reassert(request: ReassertRequest) -> Lives:
    """What lives on a node; raises InvalidInput."""
    node = read_node_name(request.node, "node")
    refuse(faults_of_life(request))
    attachments = tuple(
        _attachment(message, f"attachments[{index}]", request) for index, message in enumerate(request.attachments)
    )
    seen = Seen(request.seen_history, request.seen_revision)
    return Lives(node, request.node_uid, attachments, frozenset(request.interfaces), seen)


def _attachment(message: Attachment, path: str, request: ReassertRequest) -> AttachmentRecord:
    faults = faults_of_attachment(message.key, f"{path}.key")
    if message.HasField("pod"):
        faults += faults_of_pod(message.pod, f"{path}.pod")
    refuse(faults)
    if message.key.node != request.node:
        raise _wrong(f"{path}.key.node", f"{message.key.node!r} is not the node that asks, {request.node!r}")
    pod = PodId(message.pod.namespace, message.pod.name, message.pod.uid) if message.HasField("pod") else None
    addresses = tuple(_address(entry, f"{path}.addresses[{index}]") for index, entry in enumerate(message.addresses))
    created_ms = _milliseconds(message.created, f"{path}.created")
    return AttachmentRecord(attachment_id(message.key), message.node_uid, request.boot_id, pod, addresses, created_ms)


def _milliseconds(time: Timestamp, path: str) -> int:
    try:
        return time.ToMilliseconds()
    except ValueError as err:
        raise _wrong(path, f"{err}") from None


def _address(entry: AssignedAddress, path: str) -> Assigned:
    try:
        ip, block = ip_address(entry.ip), ip_network(entry.block)
    except ValueError as err:
        raise _wrong(path, f"{err}; accepted: ip and block as Allocate answered them") from None
    plain = str(ip) == entry.ip and str(block) == entry.block and "%" not in entry.ip + entry.block
    if not plain or ip.version != block.version or ip not in block or not entry.network or "/" in entry.network:
        raise _wrong(path, f"{entry.ip} of network {entry.network!r} does not lie in block {entry.block}")
    return Assigned(entry.network, ip, block)


def _wrong(path: str, message: str) -> InvalidInput:
    return InvalidInput("the request is wrong", [Fault(path, message)])
