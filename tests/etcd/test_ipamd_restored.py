"""A store that was restored from a backup, or lost: what lives is known again before anything is given out (docs/adr/0007)."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import NotFound, RomanaError, Unavailable
from romana.store.api import Store
from romana.store.memory import MemoryStore
from romana.v1 import ipam_pb2
from tests.fakes.live_node import LiveNode, doubled, told
from tests.ipamd import Running, flat, running, until, write_pod

WAIT_S = 60.0


async def backup_of(store: Store) -> dict[str, bytes]:
    """Everything, as a snapshot has it."""
    return {item.key: item.value for item in (await store.list("")).items}


@asynccontextmanager
async def _ipamd(store: Store, patience_s: float = 60.0) -> AsyncIterator[Running]:
    async with running(store, cooldown_s=0, patience_s=patience_s, restore_hold_s=0.0) as run:
        yield run


async def waiting(run: Running) -> ipam_pb2.RecoveryResponse:
    """What a person sees of the recovery."""
    return await run.ipam(lambda stub, left: stub.Recovery(ipam_pb2.RecoveryRequest(), timeout=left))


async def give_up(run: Running, node: str) -> bool:
    """A person's word."""
    request = ipam_pb2.GiveUpNodeRequest(node=node)
    return (await run.ipam(lambda stub, left: stub.GiveUpNode(request, timeout=left))).changed


async def recovered(run: Running, *nodes: LiveNode) -> None:
    """Agents ask as they do until the recovery is over."""
    async with asyncio.timeout(WAIT_S):
        while (await store_of(run).get(keys.RESTORED)) is not None:
            for node in nodes:
                with suppress(Unavailable):
                    await node.ask(run)
            await asyncio.sleep(0.05)


def store_of(run: Running) -> Store:
    """The store that an ipamd works on."""
    return run.ipamd._store


async def noticed(run: Running) -> None:
    """It has noticed that the store was restored, and has read it anew."""
    async with asyncio.timeout(WAIT_S):
        while (await store_of(run).get(keys.RESTORED)) is None or not run.ipamd.state.whole:  # noqa: ASYNC110 - it follows the store
            await asyncio.sleep(0.01)


async def _cluster(run: Running, *names: str, mask: int = 30) -> tuple[LiveNode, ...]:
    for _ in range(200):  # the restore of a MemoryStore counts from 1: keep clear of where it ends
        await write_pod(store_of(run), "default", "some")
    await run.apply(flat("10.40.0.0/24", mask))
    for name in names:
        await run.add_node(name)
    return tuple(LiveNode(name) for name in names)


async def test_addresses_given_after_the_backup_are_written_again_and_nothing_is_given_twice() -> None:
    store = MemoryStore()
    async with _ipamd(store) as run:
        (n1,) = await _cluster(run, "n1")
        await n1.add(run, "c0")
        backup = await backup_of(store)
        for number in range(1, 10):
            await n1.add(run, f"c{number}")
        store.restore(backup)
        await noticed(run)
        answer = await n1.reassert(run)
        assert (answer.restored, list(answer.conflicts)) == (9, [])
        await recovered(run, n1)
        for number in range(10, 20):
            await n1.add(run, f"c{number}")
        assert doubled(n1) == []
        assert await faults(store, told(n1)) == []


async def test_no_node_gets_anything_before_every_node_has_spoken() -> None:
    """The block that n2 claimed after the backup is unknown to the store: n1 must not claim it."""
    store = MemoryStore()
    async with _ipamd(store, patience_s=2.0) as run:
        n1, n2 = await _cluster(run, "n1", "n2")
        await n1.add(run, "a0")
        await until(lambda: len(run.ipamd.state.blocks.rows) >= 2)
        backup = await backup_of(store)
        for number in range(12):
            await n2.add(run, f"b{number}")
        store.restore(backup)
        await noticed(run)
        await n1.reassert(run)
        await until(lambda: run.ipamd.recovery._waiting == ["n2"])
        with pytest.raises(Unavailable, match=r"waiting for nodes to re-assert: n2; .*romana ipam recovery --without NODE"):
            await n1.add(run, "a1")
        assert (await waiting(run)).waiting == ["n2"]
        assert (await n2.reassert(run)).restored == 12
        await recovered(run, n1, n2)
        for number in range(1, 12):
            await _patient(n1, run, f"a{number}")
        assert doubled(n1, n2) == []
        assert await faults(store, told(n1, n2)) == []


async def _patient(node: LiveNode, run: Running, container: str) -> None:
    """As a kubelet does: ADD again as long as it is told to."""
    async with asyncio.timeout(WAIT_S):
        while container not in node.live:
            with suppress(Unavailable):
                await node.add(run, container)


async def test_a_node_that_is_gone_is_named_and_the_operator_can_give_it_up() -> None:
    store = MemoryStore()
    async with _ipamd(store, patience_s=2.0) as run:
        n1, n2 = await _cluster(run, "n1", "n2")
        await n2.add(run, "b0")
        backup = await backup_of(store)
        await n1.add(run, "a0")
        store.restore(backup)
        await noticed(run)
        await n1.reassert(run)
        assert (await waiting(run)).waiting == ["n2"]
        assert await give_up(run, "n2")
        assert not await give_up(run, "n2")
        await recovered(run, n1)
        await _patient(n1, run, "a1")
        assert await faults(store, told(n1, n2)) == []  # what the store knew of n2 stays held: unknown means live
        assert not await give_up(run, "n2")


async def test_an_attachment_released_after_the_backup_goes_and_its_address_stays_with_its_next_holder() -> None:
    store = MemoryStore()
    async with _ipamd(store) as run:
        (n1,) = await _cluster(run, "n1", mask=31)
        await n1.add(run, "old0")
        await n1.add(run, "old1")
        backup = await backup_of(store)
        before = {n1.live[name].addresses[0].ip for name in ("old0", "old1")}
        await n1.delete(run, "old0")
        await n1.delete(run, "old1")
        async with asyncio.timeout(WAIT_S):
            number = 0
            while not before <= {entry.addresses[0].ip for entry in n1.live.values()}:
                await n1.add(run, f"new{number}")
                number += 1
        store.restore(backup)
        await noticed(run)
        answer = await n1.reassert(run)
        assert (answer.released, answer.restored, list(answer.conflicts)) == (2, number, [])
        await recovered(run, n1)
        assert await faults(store, told(n1)) == []


async def test_a_node_added_after_the_backup_is_waited_for_and_named_as_unknown() -> None:
    """An ipamd that ran through remembers it; one that was started anew hears of it from the node's agent."""
    for restarted in (False, True):
        store = MemoryStore()
        async with _ipamd(store) as run:
            n1, *_ = await _cluster(run, "n1")
            await n1.add(run, "a0")
            backup = await backup_of(store)
            await run.add_node("n2")
            n2 = LiveNode("n2")
            for number in range(9):
                await n2.add(run, f"b{number}")
            await run.ipamd.recovery.sync()
            store.restore(backup)
            if not restarted:
                await noticed(run)
                await until(lambda: run.ipamd.recovery._waiting == ["n1", "n2"])
        async with _ipamd(store) as run:
            await n2.ask(run)
            await noticed(run)
            with pytest.raises(NotFound, match="romana node add n2"):
                await n2.reassert(run)
            await n1.ask(run)
            seen = await waiting(run)
            assert list(seen.waiting) == list(seen.unknown) == ["n2"]
            await run.add_node("n2")
            assert (await n2.reassert(run)).restored == 9
            await recovered(run, n1, n2)
            for number in range(9):
                await _patient(n1, run, f"a1{number}")
            assert doubled(n1, n2) == []
            assert await faults(store, told(n1, n2)) == []


async def test_a_store_that_lost_everything_takes_topology_nodes_and_what_lives_again() -> None:
    store = MemoryStore()
    async with _ipamd(store, patience_s=2.0) as run:
        nodes = await _cluster(run, "n1", "n2")
        for number in range(9):
            await nodes[number % 2].add(run, f"c{number}")
    store.restore({})
    async with _ipamd(store, patience_s=2.0) as run:
        assert (await nodes[0].ask(run)).restored.reason.startswith("the agent of node n1 saw a history that the store does not")
        await run.apply(flat("10.40.0.0/24", 30))  # gives nothing back, so it needs not to wait
        await run.add_node("n1")
        with pytest.raises(Unavailable, match="being recovered"):
            await nodes[0].add(run, "c10")
        await nodes[1].ask(run)
        assert (await waiting(run)).unknown == ["n2"]
        await run.add_node("n2")
        await recovered(run, *nodes)
        for number in range(9, 30):
            await _patient(nodes[number % 2], run, f"c{number}")
        assert doubled(*nodes) == []
        assert await faults(store, told(*nodes)) == []


async def test_a_smaller_topology_than_before_keeps_the_recovery_waiting_and_says_what_to_do() -> None:
    store = MemoryStore()
    async with _ipamd(store) as run:
        (n1,) = await _cluster(run, "n1")
        await n1.add(run, "c0")
        seen = n1.seen_history
    store.restore({})
    async with _ipamd(store) as run:
        await n1.ask(run)
        await run.apply(flat("10.41.0.0/24", 30, name="other"))
        await run.add_node("n1")
        answer = await n1.reassert(run)
        assert [conflict.blocking for conflict in answer.conflicts] == [True]
        assert "apply the topology that was in force" in answer.conflicts[0].reason
        assert n1.seen_history == seen
        assert (await waiting(run)).waiting == ["n1"]


async def test_several_ipamd_notice_at_once_and_one_recovery_begins() -> None:
    store = MemoryStore()
    async with _ipamd(store) as one, _ipamd(store) as two, _ipamd(store) as three:
        (n1,) = await _cluster(one, "n1")
        backup = await backup_of(store)
        for number in range(6):
            await n1.add((one, two, three)[number % 3], f"c{number}")
        await asyncio.gather(*(run.ipamd.recovery.sync() for run in (one, two, three)))
        store.restore(backup)
        await asyncio.gather(*(noticed(run) for run in (one, two, three)))
        record = await store.get(keys.RESTORED)
        assert record is not None
        await asyncio.sleep(0.5)
        assert await store.get(keys.RESTORED) == record  # nobody began another
        await n1.reassert(two)
        await recovered(three, n1)
        await _patient(n1, one, "c9")
        assert await faults(store, told(n1)) == []


async def test_a_backup_made_during_a_recovery_does_not_end_the_next_one() -> None:
    store = MemoryStore()
    async with _ipamd(store) as run:
        n1, n2 = await _cluster(run, "n1", "n2")
        await n1.add(run, "a0")
        backup = await backup_of(store)
        await n1.add(run, "a1")
        store.restore(backup)
        await noticed(run)
        await n1.reassert(run)
        in_between = await backup_of(store)
        await recovered(run, n1, n2)
        for number in range(9):
            await _patient(n1, run, f"b{number}")
        store.restore(in_between)
        await until(lambda: run.ipamd.recovery._waiting == ["n1", "n2"])
        await recovered(run, n1, n2)
        for number in range(9):
            await _patient(n2, run, f"c{number}")
        assert doubled(n1, n2) == []
        assert await faults(store, told(n1, n2)) == []


async def test_a_late_agent_re_asserts_and_begins_nothing_anew() -> None:
    """n2 was given up and comes back: what is still free is its own again, the rest is named."""
    store = MemoryStore()
    async with _ipamd(store, patience_s=2.0) as run:
        n1, n2 = await _cluster(run, "n1", "n2", mask=31)
        await n2.add(run, "b0")
        backup = await backup_of(store)
        for number in range(1, 5):
            await n2.add(run, f"b{number}")
        store.restore(backup)
        await noticed(run)
        await n1.reassert(run)
        await give_up(run, "n2")
        await recovered(run, n1)
        for number in range(4):
            await _patient(n1, run, f"a{number}")
        with pytest.raises(Unavailable, match="has to re-assert first"):
            await n2.add(run, "b5")
        answer = await n2.reassert(run)
        assert await store.get(keys.RESTORED) is None
        lost = {conflict.attachment.container_id for conflict in answer.conflicts}
        assert len(lost) + answer.restored == 4
        for container in lost:
            del n2.live[container]
        await _patient(n2, run, "b5")
        assert doubled(n1, n2) == []


SEEDS = [0, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 60))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happened_since_the_backup_no_address_lives_twice(seed: int) -> None:
    """Random allocations and releases around a backup, several ipamd, some of them restarted; agents speak in any order."""
    rng, store = random.Random(seed), MemoryStore()  # noqa: S311 - a test's choices
    nodes = [LiveNode(f"n{number}") for number in range(3)]
    async with _ipamd(store) as one, _ipamd(store) as two:
        await _cluster(one, *(node.name for node in nodes), mask=30)
        await churn(rng, [one, two], nodes, rng.randrange(20))
        backup = await backup_of(store)
        await churn(rng, [one, two], nodes, rng.randrange(40))
        if rng.random() < 0.5:
            store.restore(backup)
            await noticed(one)
    if (await store.get(keys.RESTORED)) is None:
        store.restore(backup)
    async with _ipamd(store, patience_s=2.0) as one, _ipamd(store, patience_s=2.0) as two:
        await rng.choice(nodes).ask(one)  # an agent speaks before the first pod comes: each asks at its start
        for node in rng.sample(nodes, 3):
            with suppress(RomanaError):
                await rng.choice(nodes).add(one, f"early-{node.name}")
            await node.ask(rng.choice([one, two]))
        await recovered(one, *nodes)
        await churn(rng, [one, two], nodes, 40)
        assert doubled(*nodes) == []
        assert await faults(store, told(*nodes)) == []


async def churn(rng: random.Random, runs: list[Running], nodes: list[LiveNode], count: int) -> None:
    """Pods come and go."""
    for _ in range(count):
        node, run = rng.choice(nodes), rng.choice(runs)
        if node.live and rng.random() < 0.4:
            await node.delete(run, rng.choice(sorted(node.live)))
        else:
            await _patient(node, run, f"c{rng.getrandbits(48)}")
