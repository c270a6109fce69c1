"""Between a decision and its transaction something else happens: the transaction's compares notice, whatever the watch knew."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from romana import keys
from romana.errors import Refused
from romana.store.api import Compare, Delete, Op, Put, TxnResult
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from tests.fakes.losing_store import LosingStore
from tests.invariants import faults
from tests.ipamd import flat, running, until, write_pod


class Interrupted(LosingStore):
    """Does `before` once, just before the first write below `prefix` is sent."""

    def __init__(self, store: MemoryStore, prefix: str) -> None:
        super().__init__(store, lambda _: "")
        self.before: Callable[[], Awaitable[object]] | None = None
        self._prefix = prefix

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store, after what comes before."""
        if self.before and any(isinstance(op, Put | Delete) and op.key.startswith(self._prefix) for op in success):
            before, self.before = self.before, None
            await before()
        return await super().txn(compares, success, failure)


async def test_a_claim_decided_under_an_older_topology_is_not_written_under_the_new_one() -> None:
    """I3: else a /29 and a /28 would overlap."""
    store = MemoryStore()
    late = Interrupted(store, keys.BLOCKS)
    async with running(late) as run, running(store) as other:
        await run.apply(flat("10.40.0.0/24", 29))

        async def change() -> None:
            await other.apply(flat("10.40.0.0/24", 28))

        late.before = change
        await run.add_node("n1")
        await run.ip("n1", "c1")
        blocks = {item.key for item in (await store.list(keys.BLOCKS)).items}
        assert blocks == {"blocks/pods/10.40.0.0_28"}
        assert await faults(store) == []


async def test_a_topology_decided_before_a_claim_is_decided_again() -> None:
    """I12: the block that was claimed meanwhile stands in the way."""
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:
        await other.apply(flat("10.40.0.0/24", 29))
        await until(run.ipamd.state.in_force)

        async def add() -> None:
            await other.add_node("n1")
            await until(lambda: other.ipamd.state.blocks.rows)

        late.before = add
        with pytest.raises(Refused, match="block 10"):
            await run.apply(flat("10.40.0.0/24", 28))
        assert (await other.show()).generation == 1


async def test_a_topology_decided_before_a_node_came_places_that_node_too() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:

        async def add() -> None:
            await other.add_node("n1")

        late.before = add
        await run.apply(flat())
        assert [place.network for place in (await run.node("n1")).node.placements] == ["pods"]


async def test_a_pod_that_goes_while_its_address_is_written_gets_none() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late, patience_s=0.2) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "old")

        async def recreate() -> None:
            await store.txn([], [Delete(keys.pod("default", "web"))])
            await write_pod(store, "default", "web", "new")

        late.before = recreate
        with pytest.raises(Exception, match="another pod of that name, of uid new"):
            await run.allocate("n1", "c1", ("default", "web", "old"))
        assert (await store.list(keys.ADDRESSES)).items == ()


async def test_a_node_that_begins_to_drain_while_an_address_is_written_gets_none() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run:
        await run.apply(flat())
        await run.add_node("n1")

        async def drain() -> None:
            item = await store.get("nodes/n1")
            node = store_pb2.Node.FromString(item.value if item else b"")
            node.state = store_pb2.NODE_STATE_DRAINING
            await store.txn([], [Put("nodes/n1", node.SerializeToString())])

        late.before = drain
        with pytest.raises(Refused, match="draining"):
            await run.allocate("n1", "c1")
        assert (await store.list(keys.ADDRESSES)).items == ()


async def test_an_address_that_another_ipamd_took_meanwhile_is_not_taken_again() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run, running(store) as other:
        await run.apply(flat())
        await run.add_node("n1")

        async def take() -> None:
            await other.allocate("n1", "c0")

        late.before = take
        assert await run.ip("n1", "c1") == "10.40.0.1"
        assert await faults(store) == []


async def test_a_release_that_another_ipamd_did_meanwhile_is_done_once() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ATTACHMENTS)
    async with running(store) as other, running(late) as run:
        await other.apply(flat())
        await other.add_node("n1")
        await other.allocate("n1", "c1")

        async def release_and_take() -> None:
            await other.release("n1", "c1")

        late.before = release_and_take
        assert not (await run.release("n1", "c1")).released
        assert len((await store.list(keys.JOURNAL)).items) == 1
        assert await faults(store) == []
