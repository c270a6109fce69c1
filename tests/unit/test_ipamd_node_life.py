"""Removal of a node when something comes between: another ipamd, a lost answer, a watch that lags."""

import asyncio
from collections.abc import Sequence

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Ambiguous, Refused
from romana.store.api import Compare, Delete, Op, TxnResult
from romana.store.memory import MemoryStore
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock, flat, running
from tests.unit.test_ipamd_races import Interrupted


class Lost(LosingStore):
    """Loses the answer of the transaction that deletes node n1, once."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, lambda _: "")
        self.lost_one = False

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store, but for that answer."""
        result = await super().txn(compares, success, failure)
        if not self.lost_one and result.succeeded and Delete(keys.node("n1")) in success:
            self.lost_one = True
            raise Ambiguous("the answer was lost")
        return result


async def test_lost_answer_of_a_removal_is_told_as_the_removal_it_was() -> None:
    store = MemoryStore()
    async with running(Lost(store)) as run:
        await run.apply(flat())
        await run.add_node("n1")
        assert (await run.remove("n1")).removed
        assert await store.get(keys.node("n1")) is None


async def test_removal_that_was_overtaken_leaves_the_next_incarnation_and_its_pods_alone() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.NODES)
    async with running(late) as slow, running(store) as other:
        await slow.apply(flat())
        first = (await slow.add_node("n1")).node.uid

        async def meanwhile() -> None:
            await other.remove("n1", force=True)
            await other.add_node("n1")
            await other.ip("n1", "new-pod")

        late.before = meanwhile
        with pytest.raises(Refused, match="another incarnation"):
            await slow.ipamd.life.remove("n1", uid=first, force=True)
        assert (await store.list(f"{keys.ATTACHMENTS}n1/")).items != ()
        assert await faults(store) == []


async def test_block_of_more_addresses_than_a_transaction_holds_returns_too() -> None:
    store, clock = MemoryStore(), Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        await run.apply(flat("10.40.0.0/24", 25))
        await run.add_node("n1")
        await asyncio.gather(*(run.ip("n1", f"c{number}") for number in range(128)))
        await run.remove("n1", force=True)
        clock.now_s += 100
        assert await run.ipamd.life.give_back_orphans() > 0
        assert (await store.list(keys.BLOCKS)).items == ()
        assert await faults(store) == []


async def test_block_waits_for_addresses_that_were_not_heard_of_yet() -> None:
    store = MemoryStore()
    async with running(store, cooldown_s=3000) as run:
        await run.apply(flat("10.40.0.0/28", 29))
        await run.add_node("n1")
        await run.ip("n1", "c1")
        await run.remove("n1", force=True)
        table = run.ipamd.state.addresses
        for key in list(table.rows):  # as for an ipamd whose watch of addresses lags behind that of blocks
            table._set(key, None)
        table.revision = 0
        await run.ipamd.life.give_back_orphans()
        assert "blocks/pods/10.40.0.0_29" in {item.key for item in (await store.list(keys.BLOCKS)).items}
        assert await faults(store) == []
