"""The three values that an allocation writes, as `ipam.codec_address` would write them, for a quarter of the time.

    attachment's key, pod, addresses ── put into bytes once ──→ attachment, endpoint, an address each

`tests/property/test_codec_allocation.py` holds every byte to what protobuf writes.
"""

from dataclasses import dataclass
from functools import lru_cache

from ipam.records import AttachmentRecord
from ipam.wire import nested, number, text
from romana.v1 import store_pb2

__all__ = ["Values", "write"]


@dataclass(frozen=True, slots=True)
class Values:
    """What goes under the keys of an allocation."""

    attachment: bytes
    endpoint: bytes
    addresses: tuple[bytes, ...]
    """In the order of the record's."""


def write(record: AttachmentRecord) -> Values:
    """The values of a new attachment, whose addresses are held since it was made. Source: proto/romana/v1/store.proto."""
    asked, pod = record.id, record.pod
    key = _shared(1, asked.node) + _shared(2, asked.conf) + text(3, asked.container_id) + _shared(4, asked.ifname)
    pod_body = text(1, pod.namespace) + text(2, pod.name) + text(3, pod.uid) if pod else None
    since = _timestamp(record.created_ms)
    interface = record.id.host_interface
    ips, assigned, addresses = b"", b"", []
    for address in record.addresses:
        ip, block = address.text, address.block_text
        ips += text(1, ip)
        assigned += nested(5, _shared(1, address.network) + text(2, ip) + _shared(3, block))
        pod_of_address = nested(3, pod_body) if pod_body is not None else b""
        addresses.append(_HELD + nested(2, key) + pod_of_address + _shared(4, block) + nested(5, since))
    pod_of_attachment = nested(4, pod_body) if pod_body is not None else b""
    made = nested(1, key) + _shared(2, record.node_uid) + _shared(3, record.boot_id) + pod_of_attachment
    made += assigned + text(6, interface) + nested(7, since)
    endpoint = ips + _shared(2, asked.node) + (text(3, pod.uid) if pod else b"") + text(4, interface)
    return Values(made, endpoint, tuple(addresses))


_HELD = number(1, store_pb2.ADDRESS_STATE_HELD)
_shared = lru_cache(maxsize=16384)(text)  # what many attachments have in common: names of nodes, networks, interfaces; blocks


@lru_cache(maxsize=64)
def _timestamp(milliseconds: int) -> bytes:
    return number(1, milliseconds // 1000) + number(2, milliseconds % 1000 * 1_000_000)
