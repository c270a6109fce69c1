"""Requests as values, checked field by field; one InvalidInput names every field that is wrong."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TypeVar

from ipam.attempt import Wanted
from ipam.codec_address import attachment_id
from ipam.history import Seen
from ipam.records import AttachmentId, PodId
from ipam.topology import syntax
from romana import names
from romana.errors import Fault, InvalidInput
from romana.keys import Address, Network
from romana.v1.ipam_pb2 import AllocateRequest, ReassertRequest, RecoveryRequest
from romana.v1.node_pb2 import AddNodeRequest
from romana.v1.store_pb2 import AttachmentKey, PodRef

__all__ = [
    "check_batch",
    "faults_of_attachment",
    "faults_of_life",
    "faults_of_pod",
    "read_address",
    "read_allocate",
    "read_attachment",
    "read_node",
    "read_node_name",
    "read_reservation",
    "read_seen",
    "refuse",
]

Value = TypeVar("Value")

# CNI specification 1.1, "Parameters": CNI_CONTAINERID; the same for a configuration's `name` (section "Network configuration").
_CNI_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The specification has no limit, runtimes use 64; 255 is what any file system, and so any runtime's own folder of that name, can
# take (NAME_MAX, linux/limits.h). A key of the store has no limit of its own.
_CNI_NAME_MAX = 255
NOTE_MAX = 256
BATCH_MAX = 1000  # about a third of a MiB, and a second of work
_IFNAME_MAX = 15  # IFNAMSIZ less the NUL, linux/if.h
_IFNAME_REFUSED = re.compile(r"[/:\s\0]")  # dev_valid_name(), linux/net/core/dev.c
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")  # Kubernetes UIDs and boot ids are UUIDs; others may come from scripts


def read_allocate(request: AllocateRequest) -> Wanted:
    """What an Allocate asks for; raises InvalidInput."""
    faults = faults_of_attachment(request.attachment) + faults_of_life(request)
    if request.HasField("pod"):
        faults += faults_of_pod(request.pod)
    for index, name in enumerate(request.networks):
        _tried(syntax.network_name, name, f"networks[{index}]", faults)
    refuse(faults)
    pod = PodId(request.pod.namespace, request.pod.name, request.pod.uid) if request.HasField("pod") else None
    seen = Seen(request.seen_history, request.seen_revision)
    networks = tuple(request.networks)
    return Wanted(attachment_id(request.attachment), request.node_uid, request.boot_id, pod, networks, seen)


def read_attachment(message: AttachmentKey) -> AttachmentId:
    """The CNI key; raises InvalidInput."""
    refuse(faults_of_attachment(message))
    return attachment_id(message)


def read_seen(request: RecoveryRequest) -> Seen:
    """How far the asker has seen the store; raises InvalidInput."""
    refuse(_seen_faults(request.seen_history, request.seen_revision))
    return Seen(request.seen_history, request.seen_revision)


def read_address(text: str) -> Address:
    """An address in any of its text forms; raises InvalidInput, for IPv4-mapped IPv6 too (it would be two keys for one)."""
    try:
        ip = ip_address(text)
    except ValueError:
        raise InvalidInput("the request is wrong", [Fault("ip", f"{text!r} is no IPv4 or IPv6 address")]) from None
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        raise InvalidInput("the request is wrong", [Fault("ip", f"{text!r} is IPv4-mapped; write {mapped}")])
    if "%" in text:
        raise InvalidInput("the request is wrong", [Fault("ip", f"{text!r} carries a zone; write it without")])
    return ip


def read_reservation(text: str, note: str) -> Network:
    """The prefix to reserve; raises InvalidInput."""
    faults = [Fault("note", f"has {len(note)} characters; at most {NOTE_MAX} are accepted")] if len(note) > NOTE_MAX else []
    try:
        cidr = ip_network(text)
    except ValueError as err:
        refuse([Fault("cidr", f"{syntax.quoted(text)} is no prefix: {err}"), *faults])
        raise AssertionError from err  # refuse raised
    if not faults and ("%" in text or ("." in text and cidr.version == 6)):  # each would be another key for the same addresses
        faults.append(Fault("cidr", f"{syntax.quoted(text)} carries a zone, or IPv4 in IPv6; write it without"))
    refuse(faults)
    return cidr


def read_node_name(text: str, path: str = "name") -> str:
    """A node's name; raises InvalidInput that names the field `path`."""
    refuse(_node_name_faults(path, text))
    return text


def check_batch(size: int) -> None:
    """Raise InvalidInput for a batch that is too large."""
    if size > BATCH_MAX:
        refuse([Fault("requests", f"has {size} entries; at most {BATCH_MAX} are accepted, send more batches")])


def read_node(request: AddNodeRequest) -> tuple[str, str, tuple[Address, ...], dict[str, str]]:
    """Name, uid, addresses and labels of an AddNode; raises InvalidInput."""
    faults = _node_name_faults("name", request.name) + _id_faults("uid", request.uid)
    addresses = _read_addresses(request.addresses, faults)
    faults += _label_faults(request.labels)
    refuse(faults)
    return request.name, request.uid, addresses, dict(request.labels)


def _read_addresses(texts: Sequence[str], faults: list[Fault]) -> tuple[Address, ...]:
    found: list[Address] = []
    for index, text in enumerate(texts):
        path = f"addresses[{index}]"
        ip = _tried(syntax.host_address, text, path, faults)
        if ip is None:
            continue
        if any(other.version == ip.version for other in found):
            faults.append(Fault(path, f"{text} is the second IPv{ip.version} address; one of each family at most"))
        found.append(ip)
    if not texts:
        faults.append(Fault("addresses", "is empty; give the address that other nodes route to"))
    return tuple(found)


def _label_faults(labels: Mapping[str, str]) -> list[Fault]:
    faults: list[Fault] = []
    for key in sorted(labels):
        _tried(syntax.label_key, key, "labels", faults)
        _tried(syntax.label_value, labels[key], f"labels[{key}]", faults)
    return faults


def faults_of_life(request: AllocateRequest | ReassertRequest) -> list[Fault]:
    """What is wrong with what a node's agent says of the node's life and of what it has seen."""
    faults = _id_faults("node_uid", request.node_uid) + _id_faults("boot_id", request.boot_id)
    return faults + _seen_faults(request.seen_history, request.seen_revision)


def _seen_faults(history: str, revision: int) -> list[Fault]:
    """A history's name is written down when a recovery ends it: it must be one, as all that is written."""
    negative = Fault("seen_revision", f"is {revision}; revisions are not negative")
    return _id_faults("seen_history", history) + ([negative] if revision < 0 else [])


def faults_of_attachment(message: AttachmentKey, path: str = "attachment") -> list[Fault]:
    """What is wrong with a CNI key."""
    faults = _node_name_faults(f"{path}.node", message.node)
    for field, text in (("conf", message.conf), ("container_id", message.container_id)):
        if len(text) > _CNI_NAME_MAX or not _CNI_NAME.fullmatch(text):
            accepted = f"a letter or digit, then letters, digits, '_', '.', '-', at most {_CNI_NAME_MAX}"
            faults.append(Fault(f"{path}.{field}", f"{syntax.quoted(text)} cannot be; accepted: {accepted} (CNI)"))
    name = message.ifname
    if not name or name in {".", ".."} or len(name.encode()) > _IFNAME_MAX or _IFNAME_REFUSED.search(name):
        accepted = f"1 to {_IFNAME_MAX} bytes without '/', ':' and spaces"
        faults.append(Fault(f"{path}.ifname", f"{syntax.quoted(name)} is no interface name; accepted: {accepted}"))
    return faults


def faults_of_pod(pod: PodRef, path: str = "pod") -> list[Fault]:
    """What is wrong with a pod's names."""
    faults = _id_faults(f"{path}.uid", pod.uid)
    if not names.is_namespace_name(pod.namespace):
        faults.append(Fault(f"{path}.namespace", f"{syntax.quoted(pod.namespace)} is no namespace's name (RFC 1123 label)"))
    if not names.is_object_name(pod.name):
        faults.append(Fault(f"{path}.name", f"{syntax.quoted(pod.name)} is no pod's name (RFC 1123 subdomain)"))
    return faults


def _node_name_faults(path: str, name: str) -> list[Fault]:
    found: list[Fault] = []
    _tried(syntax.host_name, name, path, found)
    return found


def _id_faults(path: str, text: str) -> list[Fault]:
    if not text or _ID.fullmatch(text):
        return []
    return [Fault(path, f"{syntax.quoted(text)} is no identity; accepted: letters, digits, '_', '.', ':', '-', at most 128")]


def _tried(read: Callable[[str], Value], text: str, path: str, faults: list[Fault]) -> Value | None:
    try:
        return read(text)
    except ValueError as err:
        faults.append(Fault(path, str(err)))
        return None


def refuse(faults: list[Fault]) -> None:
    """Raise InvalidInput when there are any."""
    if faults:
        raise InvalidInput("the request is wrong", faults)
