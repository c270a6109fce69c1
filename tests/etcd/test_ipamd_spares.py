"""Blocks that a node does not need return to its group: not before their addresses have cooled, never one that is being used."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ipam.invariants import faults
from ipam.spares import SETTLE_S
from romana import keys
from romana.errors import Ambiguous
from romana.store.api import Compare, Delete, Op, Put, Store, TxnResult
from romana.v1 import store_pb2
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock, Running, flat, running, until

COOLDOWN_S = 30


class GivesBack(LosingStore):
    """Does `before` once, just before a block is deleted; then loses the answer of that, `loses` it was applied."""

    def __init__(self, store: Store, before: Callable[[], Awaitable[object]] | None = None, loses: str = "") -> None:
        super().__init__(store, lambda _: "")
        self.before = before
        self.loses = loses

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store, but for that."""
        if not any(isinstance(op, Delete) and op.key.startswith(keys.BLOCKS) for op in success):
            return await super().txn(compares, success, failure)
        before, self.before = self.before, None
        loses, self.loses = self.loses, ""
        if before is not None:
            await before()
        if loses != "before":
            result = await super().txn(compares, success, failure)
        if loses:
            raise Ambiguous(f"the answer was lost {loses}")
        return result


async def blocks(store: Store) -> list[str]:
    return [item.key.rpartition("/")[2] for item in (await store.list(keys.BLOCKS)).items]


async def burst(run: Running, count: int, node: str = "n1") -> list[str]:
    """So many pods that come and go again."""
    names = [f"{node}-{number}" for number in range(count)]
    await asyncio.gather(*(run.ip(node, name) for name in names))
    for name in names:
        await run.release(node, name)
    return names


async def long_after(run: Running, clock: Clock) -> None:
    """All that is given back when nothing happens for long; the ipamd's own sweeps come beside these."""
    for _ in range(3):
        await run.ipamd.spares.give_back()
        clock.now_s += SETTLE_S + 1
    await run.ipamd.spares.give_back()


async def settled(run: Running) -> None:
    """Until no node is due any more."""
    await until(lambda: run.ipamd.state.whole and not run.ipamd.state.uneven)


async def test_blocks_of_a_burst_return_once_their_addresses_have_cooled(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await burst(run, 20)
        await settled(run)
        before = await blocks(store)
        assert len(before) >= 3
        assert await run.ipamd.spares.give_back() == 0  # they cool
        clock.now_s += COOLDOWN_S + 1
        assert await run.ipamd.spares.give_back() == 0  # not settled
        await long_after(run, clock)
        assert await blocks(store) == before[:1]
        assert not [item for item in (await store.list(keys.ADDRESSES)).items if item.key > "addresses/pods/10.40.0.7"]
        await run.ip("n1", "later")
        assert await faults(store) == []


async def test_upkeep_gives_them_back_by_itself(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await burst(run, 20)

        async def one_is_left() -> None:
            while len(await blocks(store)) > 1:
                clock.now_s += SETTLE_S
                await asyncio.sleep(0.05)

        await asyncio.wait_for(one_is_left(), 60)


async def test_allocation_at_the_same_moment_keeps_its_block(store: Store) -> None:
    clock, others = Clock(), Clock()
    async with running(store, COOLDOWN_S, others) as other:
        await other.apply(flat("10.40.0.0/16", 30))
        await other.add_node("n1")
        held = [await other.ip("n1", f"stays-{number}") for number in range(4)]
        await burst(other, 8)
        others.now_s += COOLDOWN_S + 1  # so that it gives out what has cooled, and gives back nothing by itself
        late = GivesBack(store)
        async with running(late, COOLDOWN_S, clock) as run:
            await settled(run)
            clock.now_s += COOLDOWN_S + 1
            last: list[str] = []

            async def fill() -> None:  # every address that the node has, the spare blocks' too
                last.extend([await other.ip("n1", f"new-{number}") for number in range(8)])

            late.before = fill
            await long_after(run, clock)
            assert len(last) == 8
            await settled(run)
            assert len({*held, *last}) == 12
            assert await faults(store) == []  # an address in a block that nobody has would be one


async def test_two_ipamd_at_once_leave_the_node_what_it_needs(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as one, running(store, COOLDOWN_S, clock) as two:
        await one.apply(flat())
        await one.add_node("n1")
        await one.ip("n1", "stays")
        await burst(one, 30)
        clock.now_s += COOLDOWN_S + 1
        for _ in range(4):
            await asyncio.gather(one.ipamd.spares.give_back(), two.ipamd.spares.give_back())
            clock.now_s += SETTLE_S + 1
        await settled(one)
        assert len(await blocks(store)) == 2  # the one in use, and one ahead
        assert await faults(store) == []


async def test_block_that_two_ipamd_claimed_both_is_given_back(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await settled(run)
        second = store_pb2.Block(node="n1", node_uid=(await run.node("n1")).node.uid)
        await store.txn([], [Put("blocks/pods/10.40.0.8_29", second.SerializeToString())])
        await until(lambda: len(run.ipamd.state.blocks.rows) == 2)
        await long_after(run, clock)
        assert await blocks(store) == ["10.40.0.0_29"]


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_lost_answer_gives_back_once_and_goes_on(store: Store, lost: str) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as other:
        await other.apply(flat())
        await other.add_node("n1")
        await burst(other, 20)
    clock.now_s += COOLDOWN_S + 1
    losing = GivesBack(store, loses=lost)
    async with running(losing, COOLDOWN_S, clock) as run:
        clock.now_s += COOLDOWN_S + 1  # a replica that starts counts anew
        await long_after(run, clock)
        assert losing.loses == ""
        assert len(await blocks(store)) == 1
        assert await faults(store) == []


async def test_block_of_more_addresses_than_a_transaction_compares_returns_too(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat("10.40.0.0/16", 25))
        await run.add_node("n1")
        await burst(run, 140)
        clock.now_s += COOLDOWN_S + 1
        await settled(run)
        await long_after(run, clock)
        assert await blocks(store) == ["10.40.0.0_25"]
        assert await faults(store) == []


async def test_block_with_a_damaged_address_stays(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await burst(run, 20)
        before = await blocks(store)
        clock.now_s += COOLDOWN_S + 1
        await store.txn([], [Put("addresses/pods/10.40.0.17", b"\xff")])
        await long_after(run, clock)
        assert "10.40.0.16_29" in await blocks(store)
        assert len(await blocks(store)) < len(before)


async def test_nothing_is_given_back_while_a_restored_store_is_recovered(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await burst(run, 20)
        await settled(run)
        before = await blocks(store)
        clock.now_s += COOLDOWN_S + 1
        await run.ipamd.spares.give_back()
        await store.txn([], [Put(keys.RESTORED, store_pb2.Restored(reason="a test").SerializeToString())])
        clock.now_s += SETTLE_S + 1
        assert await run.ipamd.spares.give_back() == 0
        assert await blocks(store) == before
