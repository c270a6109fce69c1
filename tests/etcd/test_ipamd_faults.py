"""What must hold when answers are lost, etcd goes away, several ipamd compete, or one is killed."""

import asyncio
from collections.abc import Mapping

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ipam.invariants import faults, index_faults
from romana import keys
from romana.errors import Exhausted, RomanaError, Unavailable
from romana.store.api import Put, Store
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Running, flat, running, until


@pytest.mark.parametrize("when", ["after", "before", "late"])
async def test_a_lost_answer_is_read_back_and_everything_happens_exactly_once(store: Store, when: str) -> None:
    """S2: every third write's answer is lost, after it was applied, before, or it is applied only later."""
    losing = LosingStore(store, lambda number: when if number % 3 == 0 else "")
    async with running(losing) as run:
        await run.apply(flat("10.40.0.0/24", 29))
        for number in range(3):
            await run.add_node(f"n{number}")
        told = {}
        for i in range(30):
            answer = await run.allocate(f"n{i % 3}", f"c{i}")
            told[keys.attachment(f"n{i % 3}", "romana", f"c{i}", "eth0")] = answer.addresses[0].ip
        assert len(set(told.values())) == 30
        assert await faults(store, told) == []
        for i in range(0, 30, 2):
            assert (await run.release(f"n{i % 3}", f"c{i}")).released
            del told[keys.attachment(f"n{i % 3}", "romana", f"c{i}", "eth0")]
        await asyncio.sleep(0.05)
        assert await faults(store, told) == []
        assert len((await store.list(keys.ATTACHMENTS)).items) == 15
        assert len((await store.list(keys.JOURNAL)).items) == 15
    assert losing.lost > 15


async def test_lost_answers_in_a_storm_of_groups_lose_and_double_nothing(store: Store) -> None:
    """S2, I1: group commits are lost too; every caller reads back its own."""
    losing = LosingStore(store, lambda number: ("after", "before", "", "late", "")[number % 5])
    async with running(losing) as run:
        await run.apply(flat("10.40.0.0/24", 28))
        await run.add_node("n1")
        answers = await asyncio.gather(*(run.allocate("n1", f"c{i}") for i in range(100)))
        told = {keys.attachment("n1", "romana", f"c{i}", "eth0"): answer.addresses[0].ip for i, answer in enumerate(answers)}
        await asyncio.sleep(0.05)
        assert len(set(told.values())) == 100
        assert await faults(store, told) == []


async def test_a_retry_after_a_lost_answer_to_the_client_holds_one_address(store: Store) -> None:
    """S1: the client gives up while the commit is under way, and asks again with the same container id."""
    async with running(store) as run, running(store) as other:
        await run.apply(flat())
        await run.add_node("n1")
        asked = asyncio.create_task(run.allocate("n1", "c1"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        again = await other.allocate("n1", "c1")
        assert (await run.allocate("n1", "c1")).addresses == again.addresses
        assert await faults(store) == []
        assert len((await store.list(keys.ATTACHMENTS)).items) == 1


async def test_two_ipamd_at_once_give_no_address_twice_and_claim_no_block_twice(store: Store) -> None:
    """I1, I3, I4, S3."""
    async with running(store) as one, running(store) as two:
        await one.apply(flat("10.40.0.0/22", 29))
        for number in range(3):
            await (one, two)[number % 2].add_node(f"n{number}")
        answers = await asyncio.gather(*((one, two)[i % 2].allocate(f"n{i % 3}", f"c{i}") for i in range(200)))
        told = {
            keys.attachment(f"n{i % 3}", "romana", f"c{i}", "eth0"): answer.addresses[0].ip for i, answer in enumerate(answers)
        }
        assert len(set(told.values())) == 200
        assert await faults(store, told) == []
        await asyncio.gather(*((one, two)[i % 2].release(f"n{i % 3}", f"c{i}") for i in range(200)))
        assert await faults(store) == []
        assert (await store.list(keys.ATTACHMENTS)).items == ()
        await _caught_up(store, one, two)


async def _caught_up(store: Store, *runs: Running) -> None:
    """Index and store agree once the watch has told everything."""
    for run in runs:
        async with asyncio.timeout(30):
            while await index_faults(store, run.ipamd.state):  # noqa: ASYNC110 - it follows the watch
                await asyncio.sleep(0.02)


async def test_the_same_attachments_asked_of_two_ipamd_get_the_same_answers(store: Store) -> None:
    async with running(store) as one, running(store) as two:
        await one.apply(flat())
        await one.add_node("n1")
        both = await asyncio.gather(*(run.ip("n1", f"c{i}") for i in range(30) for run in (one, two)))
        assert both[::2] == both[1::2]
        assert len(set(both)) == 30
        assert await faults(store) == []


async def test_many_nodes_race_for_the_last_blocks_and_the_losers_are_told_cleanly(store: Store) -> None:
    """S3, S11: 40 nodes, 16 blocks, two ipamd."""
    async with running(store) as one, running(store) as two:
        for number in range(40):
            await one.add_node(f"n{number}")
        await one.apply(flat("10.40.0.0/26", 30))
        askers = {f"n{i}": (one, two)[i % 2] for i in range(40)}
        lost = await losers(askers)
        await until(lambda: len(one.ipamd.state.blocks.rows) == len(two.ipamd.state.blocks.rows) == 16)
        # One ipamd may have claimed ahead for a node that asked the other, which had not heard of it: then the repeat succeeds.
        lost = await losers({name: askers[name] for name in lost})
        # Both may claim for one node, which then has two: whoever owns a block has an address, and nobody else.
        blocks = (await store.list(keys.BLOCKS)).items
        owners = {store_pb2.Block.FromString(item.value).node for item in blocks}
        assert (len(blocks), set(askers) - set(lost)) == (16, owners)
        assert await faults(store) == []


async def losers(askers: Mapping[str, Running]) -> list[str]:
    """The nodes whose first pod gets no address, each asked of its ipamd, all at once; nothing else may go wrong."""
    calls = (run.allocate(name, "c") for name, run in askers.items())
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = {name: found for name, found in zip(askers, outcomes, strict=True) if isinstance(found, BaseException)}
    assert {type(err) for err in failed.values()} <= {Exhausted}, failed
    return list(failed)


async def test_before_etcd_answers_requests_are_unavailable_and_health_says_not_serving() -> None:
    store = MemoryStore()
    store.fail()
    async with running(store, whole=False, patience_s=2.0) as run:
        assert await _serving(run) is False
        calls = (run.allocate("n1", "c1"), run.release("n1", "c1"), run.apply(flat()), run.show(), run.lookup("10.0.0.1"))
        for refusal in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(refusal, Unavailable)
            assert "has not read the store yet" in str(refusal)
        store.mend()
        await until(lambda: run.ipamd.state.whole)
        await run.apply(flat())
        await _health(run, serving=True)


async def test_while_etcd_is_away_nothing_is_promised_and_afterwards_all_goes_on() -> None:
    """S9, I13."""
    store = MemoryStore()
    async with running(store, patience_s=2.0) as run:
        await run.apply(flat())
        await run.add_node("n1")
        first = await run.ip("n1", "c1")
        await _health(run, serving=True)
        store.fail()
        await _health(run, serving=False)
        with pytest.raises(Unavailable):
            await run.allocate("n1", "c2")
        with pytest.raises(Unavailable):
            await run.allocate("n1", "c1")
        store.mend()
        await _health(run, serving=True)
        assert await run.ip("n1", "c1") == first
        assert await run.ip("n1", "c2") == "10.40.0.1"
        assert await faults(store) == []


async def test_a_newer_layout_in_the_store_ends_ipamd() -> None:
    store = MemoryStore()
    await store.txn([], [Put("schema", b"\x08\x63")])
    with pytest.raises(RomanaError, match="layout has version 99"):
        async with running(store) as run:
            await run.client.close()


async def _health(run: Running, *, serving: bool) -> None:
    async with asyncio.timeout(30):
        while await _serving(run) is not serving:  # noqa: ASYNC110 - health is asked, not told
            await asyncio.sleep(0.02)


async def _serving(run: Running) -> bool:
    async with grpc.aio.insecure_channel(run.address) as channel:
        check = health_pb2.HealthCheckRequest(service="romana.v1.Ipam")
        answer = await health_pb2_grpc.HealthStub(channel).Check(check)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
