"""What an allocation keeps without decoding is what its bytes decode to."""

from ipaddress import ip_address, ip_network

import pytest

from ipam import codec_address, transactions
from ipam.records import Assigned, AttachmentId, AttachmentRecord, BlockRecord, NodeRecord, PodId
from ipam.table import Row
from romana.store.api import KeyValue, Put


@pytest.mark.parametrize("pod", [None, PodId("default", "web", "uid"), PodId("default", "web")])
@pytest.mark.parametrize(("ip", "block"), [("10.40.0.1", "10.40.0.0/29"), ("fd00::1", "fd00::/64")])
def test_the_values_beside_an_allocations_writes_are_what_the_writes_say(pod: PodId | None, ip: str, block: str) -> None:
    address = Assigned("pods", ip_address(ip), ip_network(block))
    record = AttachmentRecord(AttachmentId("n1", "c", "id", "eth0"), "uid-1", "boot", pod, (address,), 1_700_000_000_123)
    node = Row("nodes/n1", NodeRecord("n1", "uid-1", (), ()), 1, 1)
    owned = Row("blocks/pods/b", BlockRecord("pods", ip_network(block), "n1", "uid-1"), 1, 1)
    txn = transactions.allocate(record, node, [(None, owned)], "endpoints/_/_/id", None, 0, 0)
    written = {write.key: write.value for write in txn.writes if isinstance(write, Put)}
    assert [key for key, _ in txn.values] == [f"addresses/pods/{ip}"]
    for key, value in txn.values:
        assert codec_address.read_address(KeyValue(key, written[key], 1, 1, 1)) == value
