"""Group commit: what waits together is sent together, and each caller hears of its own."""

import asyncio
from collections.abc import Sequence

import pytest

from ipam.commit import Committer, Txn
from ipam.reads import Reader
from romana.errors import Ambiguous
from romana.store.api import Compare, Get, KeyValue, Op, Put, TxnResult
from romana.store.limits import MAX_OPS
from romana.store.memory import MemoryStore


class Counting(MemoryStore):
    """Remembers the size of every transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store."""
        self.sizes.append(len(success))
        return await super().txn(compares, success, failure)


def create(key: str, *more: str) -> Txn:
    return Txn((Compare.absent(key),), tuple(Put(name, b"v") for name in (key, *more)))


async def commit_all(store: MemoryStore, txns: Sequence[Txn]) -> tuple[list[TxnResult], list[str]]:
    told: list[str] = []
    committer = Committer(store, lambda txn, revision: told.append(txn.writes[0].key))
    return await asyncio.gather(*(committer.commit(txn) for txn in txns)), told


async def test_what_waits_together_is_sent_together() -> None:
    store = Counting()
    results, told = await commit_all(store, [create(f"a/{i}", f"b/{i}", f"c/{i}") for i in range(100)])
    assert all(result.succeeded for result in results)
    assert sorted(told) == sorted(f"a/{i}" for i in range(100))
    assert max(store.sizes) <= MAX_OPS
    assert len(store.sizes) < 10


async def test_one_conflict_fails_one() -> None:
    store = Counting()
    await store.txn([], [Put("a/13", b"old")])
    results, told = await commit_all(store, [create(f"a/{i}") for i in range(40)])
    assert [i for i, result in enumerate(results) if not result.succeeded] == [13]
    assert [item.value for item in results[13].gets[0]] == [b"old"]
    assert "a/13" not in told
    assert len((await store.list("a/")).items) == 40


async def test_transactions_on_one_key_are_never_sent_together() -> None:
    store = Counting()
    results, _ = await commit_all(store, [create("a/1") for _ in range(8)])
    assert sorted(result.succeeded for result in results) == [False] * 7 + [True]
    follow_up = Txn((Compare.absent("a/2"),), (Put("x", b""),))
    results, _ = await commit_all(store, [create("a/2"), follow_up])
    assert [result.succeeded for result in results] == [True, False]


async def test_a_lost_answer_is_told_to_every_caller_of_the_group() -> None:
    store = Counting()
    for _ in range(4):
        store.lose_next_answer(applied=True)
    committer = Committer(store, lambda *_: None)
    results = await asyncio.gather(*(committer.commit(create(f"a/{i}")) for i in range(6)), return_exceptions=True)
    assert {type(result) for result in results} == {Ambiguous}
    store.lose_next_answer(applied=False)
    with pytest.raises(Ambiguous):
        await committer.commit(create("b"))


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    store = Counting()
    told: list[int] = []
    committer = Committer(store, lambda _, revision: told.append(revision))
    tasks = [asyncio.create_task(committer.commit(create(f"a/{i}"))) for i in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await committer.close()
    assert sum(task.cancelled() for task in tasks) == 1
    assert len((await store.list("a/")).items) == len(told) == 10  # what was sent counts, heard or not


async def test_nothing_that_comes_while_a_sender_ends_is_left_waiting() -> None:
    store = Counting()
    committer, reader = Committer(store, lambda *_: None), Reader(store, _found)

    async def commits(number: int) -> None:
        for turn in range(20):
            await committer.commit(create(f"a/{number}/{turn}"))

    async def reads() -> None:
        for turn in range(20):
            await reader.read(f"a/0/{turn}")

    async with asyncio.timeout(30):
        for callers in range(1, 6):
            await asyncio.gather(*(commits(10 * callers + number) for number in range(callers)))
            await asyncio.gather(*(reads() for _ in range(callers)))


def _found(reads: Sequence[Get], result: TxnResult) -> dict[str, KeyValue | None]:
    return {read.key: items[0] if items else None for read, items in zip(reads, result.gets, strict=True)}
