"""`romana block list`: the order of its rows."""

from ipaddress import ip_network

from romana import keys
from romana.cli.block import tally
from romana.store.api import KeyValue
from romana.v1.store_pb2 import Block


def test_blocks_stand_in_the_order_of_their_addresses_not_of_their_text() -> None:
    cidrs = ["10.40.0.0/28", "10.40.0.64/28", "10.40.0.128/28"]
    as_etcd_sorts = sorted(keys.block("pods", ip_network(cidr)) for cidr in cidrs)
    items = [KeyValue(key, Block(node="a1").SerializeToString(), 1, 1, 1) for key in as_etcd_sorts]
    assert [row["cidr"] for row in tally(items, [], 0.0, {})] == cidrs
