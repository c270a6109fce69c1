"""What a daemon says it has in the kernel, beside what the store holds."""

from romana.receipts import behind, newest_revisions
from romana.store.api import Put
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import Receipt


def test_a_receipt_is_behind_where_a_newer_key_was_written() -> None:
    newest = {"nodes/": 5, "blocks/": 9, "pods/": 0}
    assert behind(Receipt(applied={"nodes/": 5, "blocks/": 8}), newest) == ["blocks/"]
    assert behind(Receipt(applied={"nodes/": 7, "blocks/": 9}), newest) == []
    assert behind(Receipt(), newest) == ["nodes/", "blocks/"]


async def test_the_newest_revision_is_that_of_the_last_written_key() -> None:
    store = MemoryStore()
    await store.txn([], [Put("nodes/b", b"")])
    last = await store.txn([], [Put("nodes/a", b"")])
    assert await newest_revisions(store, ["nodes/", "blocks/"]) == {"nodes/": last.revision, "blocks/": 0}
    await store.close()
