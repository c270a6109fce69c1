"""What `lab up` tells of daemons that are up and still have something to say."""

from romana import keys
from romana.lab.up import _problems
from romana.store.api import Put
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import Problem, Receipt


async def test_what_a_receipt_says_is_wrong_is_told_with_its_node() -> None:
    store = MemoryStore()
    receipt = Receipt(problems=[Problem(id="node-without-address", text="node 'b' has no IPv6 address")])
    await store.txn([], [Put(keys.receipt("a", "routed"), receipt.SerializeToString())])
    await store.txn([], [Put(keys.receipt("b", "routed"), Receipt().SerializeToString())])
    assert await _problems(store, "routed", ["a", "b", "c"]) == ["routed on a: node 'b' has no IPv6 address"]
