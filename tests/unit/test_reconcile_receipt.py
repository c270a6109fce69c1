"""Receipts: written at once, then rarely; leased; made again when the lease is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from romana.reconcile import Pace, ReceiptWriter, Report
from romana.reconcile.receipt import PROBLEMS_MAX
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import Receipt

KEY = "receipts/n1/routed"
QUICK = Pace(resync_s=0.01, rest_s=0, backoff_s=0.001)


@asynccontextmanager
async def writing(store: MemoryStore, pace: Pace = QUICK) -> AsyncIterator[ReceiptWriter]:
    writer = ReceiptWriter(store, KEY, "netlink", pace)
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def receipt(store: MemoryStore) -> Receipt | None:
    found = await store.get(KEY)
    return None if found is None else Receipt.FromString(found.value)


async def until(store: MemoryStore, condition: Callable[[Receipt | None], object]) -> Receipt | None:
    async with asyncio.timeout(60):
        while True:
            found = await receipt(store)
            if condition(found):
                return found
            await asyncio.sleep(0.001)


async def test_report_is_written_with_all_that_it_says() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        assert await receipt(store) is None
        writer.report(Report({"nodes/": 3, "blocks/": 7}, (("route-conflict", "somebody else"),)))
        found = await until(store, bool)
        assert found is not None
        assert (dict(found.applied), found.backend) == ({"nodes/": 3, "blocks/": 7}, "netlink")
        assert [(problem.id, problem.text) for problem in found.problems] == [("route-conflict", "somebody else")]
        assert found.since.seconds > 0


async def test_reports_in_quick_succession_are_one_write() -> None:
    store = MemoryStore()
    async with writing(store, Pace(rest_s=0.05)) as writer:
        for revision in range(1, 101):
            writer.report(Report({"blocks/": revision}))
            await asyncio.sleep(0)
        await until(store, lambda found: found is not None and found.applied["blocks/"] == 100)
        item = await store.get(KEY)
        assert item is not None
        assert item.version <= 2


async def test_same_report_is_not_written_again_and_since_stays() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        writer.report(Report({"blocks/": 1}))
        before = await until(store, bool)
        writer.report(Report({"blocks/": 1}))
        await asyncio.sleep(0.03)
        item = await store.get(KEY)
        assert item is not None
        assert item.version == 1
        writer.report(Report({"blocks/": 1}, (("p", "now a problem"),)))
        after = await until(store, lambda found: found is not None and found.problems)
        assert before is not None
        assert after is not None
        assert before.since == after.since


async def test_lost_lease_is_made_again() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        writer.report(Report({"blocks/": 1}))
        await until(store, bool)
        item = await store.get(KEY)
        assert item is not None
        store.expire_lease(item.lease)
        assert await receipt(store) is None
        await until(store, bool)


async def test_store_that_is_away_gets_the_last_report_when_it_is_back() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        store.fail()
        writer.report(Report({"blocks/": 1}))
        await asyncio.sleep(0.02)
        writer.report(Report({"blocks/": 2}))
        store.mend()
        await until(store, lambda found: found is not None and found.applied["blocks/"] == 2)


async def test_ambiguous_write_is_repeated() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        store.lose_next_answer(applied=False)
        writer.report(Report({"blocks/": 1}))
        await until(store, bool)


async def test_receipt_goes_with_its_writer() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        writer.report(Report({"blocks/": 1}))
        await until(store, bool)
    assert await receipt(store) is None


async def test_long_list_of_problems_is_cut_and_says_so() -> None:
    store = MemoryStore()
    async with writing(store) as writer:
        writer.report(Report({}, tuple(("p", str(number)) for number in range(PROBLEMS_MAX + 5))))
        found = await until(store, bool)
        assert found is not None
        assert len(found.problems) == PROBLEMS_MAX + 1
        assert found.problems[-1].text == "5 more problems"
