"""What is written by hand is what protobuf writes, byte by byte, and is read back as what it was."""

from ipaddress import ip_address, ip_network

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from ipam import codec_address, codec_allocation, wire
from ipam.records import AddressRecord, Assigned, AttachmentId, AttachmentRecord, PodId
from romana.store.api import KeyValue
from romana.v1 import store_pb2

NAMES = st.text("abz019.-_", min_size=1, max_size=253)
MAYBE = st.one_of(st.just(""), NAMES, st.text(max_size=130))
PODS = st.one_of(st.none(), st.builds(PodId, NAMES, NAMES, MAYBE))
IDS = st.builds(AttachmentId, NAMES, NAMES, NAMES, NAMES)


@st.composite
def assigned(draw: st.DrawFn) -> Assigned:
    version = draw(st.sampled_from((4, 6)))
    bits = 32 if version == 4 else 128
    ip = ip_address(draw(st.integers(1 << (bits - 1), (1 << bits) - 1)).to_bytes(bits // 8, "big"))
    return Assigned(draw(NAMES), ip, ip_network((ip, draw(st.integers(bits - 16, bits))), strict=False))


RECORDS = st.builds(
    AttachmentRecord, IDS, MAYBE, MAYBE, PODS, st.lists(assigned(), max_size=2).map(tuple), st.integers(0, 253402300799999)
)


@given(RECORDS)
def test_the_values_of_an_allocation_are_those_that_protobuf_writes(record: AttachmentRecord) -> None:
    values = codec_allocation.write(record)
    assert values.attachment == codec_address.write_attachment(record)
    assert values.endpoint == codec_address.write_endpoint(record)
    for value, address in zip(values.addresses, record.addresses, strict=True):
        held = AddressRecord(address.network, address.ip, address.block, record.id, record.pod, record.created_ms)
        assert value == codec_address.write_address(held)
        assert codec_address.read_address(KeyValue(address.key, value, 1, 1, 1)) == held
    assert codec_address.read_attachment(KeyValue(record.id.key, values.attachment, 1, 1, 1)) == record


@given(st.text(max_size=20000), st.integers(0, 2**63 - 1))
def test_a_field_is_written_as_protobuf_writes_it(text: str, number: int) -> None:
    assert wire.text(3, text) == store_pb2.AttachmentKey(container_id=text).SerializeToString()
    assert wire.number(1, number) == Timestamp(seconds=number).SerializeToString()
