"""Requests that come together are attempted together; what is not plain for one of them is nobody else's business."""

import asyncio
from collections.abc import Sequence

import pytest

from ipam import rounds
from ipam.allocator import Holdings
from ipam.attempt import Granted, Wanted
from ipam.history import Seen
from ipam.invariants import faults, index_faults
from ipam.records import AttachmentId, PodId
from ipam.server import Ipamd
from romana import keys
from romana.errors import NotFound, Unavailable
from romana.store.api import Compare, Get, Op, Put, TxnResult
from romana.store.memory import MemoryStore
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Running, flat, running, until, write_pod


class Counting(MemoryStore):
    """Remembers how many transactions read, and how many wrote addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store."""
        self.reads += all(isinstance(op, Get) for op in success)
        self.writes += any(isinstance(op, Put) and op.key.startswith(keys.ADDRESSES) for op in success)
        return await super().txn(compares, success, failure)


def wanted(container: str, node: str = "n1", pod: str = "") -> Wanted:
    return Wanted(AttachmentId(node, "romana", container, "eth0"), pod=PodId("default", pod) if pod else None)


async def laid_out(run: Running, mask: int = 24) -> Ipamd:
    await run.apply(flat("10.40.0.0/16", mask))
    await run.add_node("n1")
    await run.ip("n1", "first")  # has its block from now on
    return run.ipamd


def ips(outcomes: Sequence[object]) -> list[str]:
    granted = [outcome for outcome in outcomes if isinstance(outcome, Granted)]
    assert len(granted) == len(outcomes), outcomes
    return [str(each.record.addresses[0].ip) for each in granted]


async def consistent(run: Running, store: MemoryStore) -> None:
    assert await faults(store) == []
    async with asyncio.timeout(60):
        while await index_faults(store, run.ipamd.state):  # noqa: ASYNC110 - it follows the watch
            await asyncio.sleep(0.01)


async def test_a_batch_is_one_read_and_as_few_transactions_as_hold_it() -> None:
    store = Counting()
    async with running(store) as run:
        ipamd = await laid_out(run)
        before = store.writes
        outcomes = await ipamd.allocations.allocate_all([wanted(f"c{number}") for number in range(80)])
        assert len(set(ips(outcomes))) == 80
        assert store.writes - before == 2  # 42 and 38: three writes each, of 128
        await consistent(run, store)


async def test_requests_one_by_one_that_wait_together_share_transactions() -> None:
    store = Counting()
    async with running(store) as run:
        ipamd = await laid_out(run)
        before = store.writes
        granted = await asyncio.gather(*(ipamd.allocations.allocate(wanted(f"c{number}")) for number in range(80)))
        assert len(set(ips(granted))) == 80
        assert store.writes - before < 10
        await consistent(run, store)


async def test_a_request_that_is_there_twice_in_a_batch_has_one_answer() -> None:
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run)
        outcomes = await ipamd.allocations.allocate_all([wanted("a"), wanted("b"), wanted("a"), wanted("first")])
        first, other, again, known = ips(outcomes)
        assert first == again
        assert len({first, other, known}) == 3
        existing = [outcome.existing for outcome in outcomes if isinstance(outcome, Granted)]
        assert existing[3]
        assert existing[:3].count(True) == 1
        await consistent(run, store)


async def test_what_is_wrong_with_one_leaves_the_others_alone() -> None:
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run)
        await write_pod(store, "default", "web", "")
        asked = [wanted("a", pod="web"), wanted("b", pod="none"), wanted("c", node="n9"), wanted("d")]
        found, missing, nowhere, plain = await ipamd.allocations.allocate_all(asked)
        assert len(set(ips([found, plain]))) == 2
        assert isinstance(missing, NotFound)
        assert missing.reason == "POD_UNKNOWN"
        assert isinstance(nowhere, NotFound)
        assert nowhere.reason == "NODE_UNKNOWN"
        await consistent(run, store)


async def test_addresses_that_another_ipamd_gave_a_moment_ago_cost_a_second_attempt() -> None:
    """The watch of one is late: all its picks are taken."""
    store = MemoryStore()
    async with running(store) as run, running(store) as other:
        ipamd = await laid_out(run)
        await until(lambda: other.ipamd.state.node("n1") and other.ipamd.state.addresses.rows)
        both = await asyncio.gather(
            ipamd.allocations.allocate_all([wanted(f"a{number}") for number in range(40)]),
            other.ipamd.allocations.allocate_all([wanted(f"b{number}") for number in range(40)]),
        )
        assert len({*ips(both[0]), *ips(both[1])}) == 80
        await consistent(run, store)
        await consistent(other, store)


@pytest.mark.parametrize("when", ["after", "before", "late"])
async def test_answers_that_are_lost_are_read_back_for_each(when: str) -> None:
    store = MemoryStore()
    losing = LosingStore(store, lambda _: when if arm else "")
    arm = False
    async with running(losing) as run:
        ipamd = await laid_out(run)
        arm = True
        batch = asyncio.create_task(ipamd.allocations.allocate_all([wanted(f"c{number}") for number in range(40)]))
        await until(lambda: losing.lost)
        arm = False
        outcomes = await batch
        assert len(set(ips(outcomes))) == 40
        assert len((await store.list(keys.ATTACHMENTS)).items) == 41
        await consistent(run, store)


async def test_a_caller_that_gives_up_leaves_nothing_behind_but_what_was_written() -> None:
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run)
        tasks = [asyncio.create_task(ipamd.allocations.allocate(wanted(f"c{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(set(ips(outcomes[1::2]))) == 10
        await consistent(run, store)
        for number in range(20):  # an address that still counted as picked would not be seen to be released
            await ipamd.releases.release(wanted(f"c{number}").attachment)
        await consistent(run, store)


async def test_a_request_of_an_agent_that_has_seen_more_is_not_answered_from_a_round() -> None:
    """What it saw is compared with a read of its own; here it means a restored store."""
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run)
        history = (await ipamd.allocations.allocate(wanted("a"))).history
        ahead = Wanted(AttachmentId("n1", "romana", "b", "eth0"), seen=Seen(history, 1_000_000))
        [outcome] = await ipamd.allocations.allocate_all([ahead])
        assert isinstance(outcome, Unavailable)
        assert (await store.list(keys.RESTORED)).items != ()


async def test_what_a_round_picks_is_what_the_allocator_would_choose() -> None:
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run, mask=29)
        for number in range(12):
            node = ipamd.state.node("n1")
            assert node is not None
            holdings = ipamd.state.holdings(node, node.value.placements[0])
            assert isinstance(holdings, Holdings)
            lowest = min((block.ip(free) for block in holdings.blocks if (free := block.lowest_free()) is not None), default=None)
            [ip] = ips(await ipamd.allocations.allocate_all([wanted(f"c{number}")]))
            assert lowest is None or ip == str(lowest)


@pytest.mark.parametrize("step", ["demand", "transaction", "tell"])
async def test_a_bug_that_one_request_meets_is_nobody_elses_and_keeps_no_address(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    async with running(store) as run:
        ipamd = await laid_out(run, mask=29)
        meant = AttachmentId("n1", "romana", "b", "eth0")
        real = getattr(rounds, step)

        def buggy(*given: object) -> object:
            if any(getattr(each, "attachment", getattr(each, "id", None)) == meant for each in given):
                raise ZeroDivisionError("a bug")
            return real(*given)

        with monkeypatch.context() as patched:
            patched.setattr(rounds, step, buggy)
            before, met, after = await ipamd.allocations.allocate_all([wanted("a"), wanted("b"), wanted("c")])
        assert isinstance(met, ZeroDivisionError)
        assert len(set(ips([before, after]))) == 2
        await consistent(run, store)
        again = await ipamd.allocations.allocate_all([wanted(f"d{number}") for number in range(4)] + [wanted("b")])
        taken = {*ips([before, after]), *ips(again)}
        assert len(taken) == 7  # the rest of the block of eight, the first one's apart
        assert len(ipamd.state.blocks.rows) == 1
        await consistent(run, store)
