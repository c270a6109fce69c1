"""Weaknesses of Romana's address management that need a store to be shown; the table in docs/ipam.md names them all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Conflict, Unavailable
from romana.store.api import Compare, Op, Put, Store, TxnResult
from romana.store.memory import MemoryStore
from romana.v1 import ipam_pb2
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Calls, Clock, Running, flat, running, until


async def test_w3_a_late_release_under_a_removed_nodes_name_frees_nothing_of_the_new_pods(store: Store) -> None:
    """Romana's left owner maps and names behind, so that an old name's DEL could free a new pod's address."""
    clock = Clock()

    def given_back() -> bool:
        clock.now_s += 1  # ipamd looks now and then
        return not run.ipamd.state.blocks.rows

    async with running(store, cooldown_s=0, clock=clock) as run:
        await run.apply(flat("10.40.0.0/30", 30))
        await run.add_node("n1")
        old = await run.ip("n1", "old")
        assert (await run.remove("n1", force=True)).released == 1
        await until(given_back)
        await run.add_node("n2")
        assert await run.ip("n2", "new") == old
        assert not (await run.release("n1", "old")).released
        assert (await run.lookup(old)).attachment.container_id == "new"
        assert await faults(store) == []


async def test_w7_a_write_that_did_not_happen_is_never_told_as_done(store: Store) -> None:
    """Romana's logged a lost lock and reported success: the caller used an address that was never stored."""
    losing = [False]
    lossy = LosingStore(store, lambda _: "before" if losing[0] else "")
    async with running(lossy) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: not run.ipamd.state.uneven)
        before = (await store.list("")).items
        losing[0] = True
        with pytest.raises((Unavailable, Conflict)):
            await impatient(run, lambda calls: calls.allocate("n1", "c1"))
        assert (await store.list("")).items == before
        losing[0] = False
        answer = await run.allocate("n1", "c1")
        stored = await store.get(keys.attachment("n1", "romana", "c1", "eth0"))
        assert stored is not None
        assert stored.mod_revision == answer.revision


async def impatient(run: Running, call: Callable[[Calls], Awaitable[object]]) -> None:
    """Ask as somebody who soon gives up."""
    calls = Calls(run.address, patience_s=0.5)
    try:
        await call(calls)
    finally:
        await calls.client.close()


async def test_w14_an_allocation_writes_three_small_keys_however_much_is_allocated(store: Store) -> None:
    """Romana's read and wrote all state as one document at each pod's start."""
    async with running(store) as run:
        await run.apply(flat(block_mask=24))
        await run.add_node("n1")

        async def written(container: str) -> tuple[list[str], int]:
            await until(lambda: not run.ipamd.state.uneven)
            before = {item.key: item for item in (await store.list("")).items}
            await run.allocate("n1", container)
            await until(lambda: not run.ipamd.state.uneven)
            changed = [item for item in (await store.list("")).items if before.get(item.key) != item]
            return [item.key.partition("/")[0] for item in changed], sum(len(item.key) + len(item.value) for item in changed)

        first = await written("c000")
        await asyncio.gather(*(run.allocate("n1", f"c{i:03}") for i in range(1, 150)))
        later = await written("c150")
        assert first[0] == later[0] == ["addresses", "attachments", "endpoints"]
        assert abs(first[1] - later[1]) < 20  # "10.40.0.0" and "10.40.0.150"
        assert later[1] < 1000


class HangingStore(LosingStore):
    """A store in front of another that can be made to answer no write any more."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda _: "")
        self.hangs = False
        self.hung = 0

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        if self.hangs and any(isinstance(op, Put) for op in success):
            self.hung += 1
            await asyncio.Event().wait()
        return await super().txn(compares, success, failure)


async def test_w15_an_ipamd_that_hangs_in_the_middle_of_a_write_keeps_nobody_waiting(store: Store) -> None:
    """Romana's had one lock for all pod starts of the cluster."""
    front = HangingStore(store)
    async with running(store) as well, running(front) as stuck:
        await stuck.apply(flat())
        for name in ("n1", "n2"):
            await well.add_node(name)
        await until(lambda: len(stuck.ipamd.state.blocks.rows) == len(well.ipamd.state.blocks.rows) == 2)
        front.hangs = True
        hangs = asyncio.create_task(stuck.allocate("n1", "c0"))
        await until(lambda: front.hung)
        assert len({await well.ip(f"n{1 + i % 2}", f"c{i}") for i in range(20)}) == 20
        assert not hangs.done()
        hangs.cancel()
        await asyncio.gather(hangs, return_exceptions=True)
        assert await faults(store) == []


async def test_w20_released_addresses_cool_and_what_could_not_be_released_is_said_and_kept() -> None:
    """Romana's gave a freed address out at once, and its DEL swallowed errors: then the address leaked for ever."""
    store, clock = MemoryStore(), Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        await run.apply(flat("10.40.0.0/30", 30))
        await run.add_node("n1")
        for i in range(3):
            await run.allocate("n1", f"c{i}")
        store.fail()
        with pytest.raises(Unavailable):
            await impatient(run, lambda calls: calls.release("n1", "c0"))
        store.mend()
        await run.release("n1", "c0")
        assert (await run.lookup("10.40.0.0")).state == ipam_pb2.LOOKUP_STATE_COOLING
        assert await run.ip("n1", "d") == "10.40.0.3"
        clock.now_s += 30
        assert await run.ip("n1", "e") == "10.40.0.0"
