"""ipamd's readiness on a store in memory: each condition by itself, and a recovery that is told and does not count."""

from collections.abc import Sequence

from romana.health.conditions import Condition, all_met, report
from romana.store.memory import MemoryStore
from tests.ipamd import Running, flat, running, until


async def conditions(run: Running) -> Sequence[Condition]:
    return await run.ipamd.readiness.conditions()


async def becomes(run: Running, *, ready: bool) -> str:
    """Wait until it is so, or not; what is told then."""
    found = await conditions(run)
    while all_met(found) is not ready:
        found = await conditions(run)
    return report(found)


async def test_a_store_that_is_away_is_told_and_one_that_is_back_too() -> None:
    store = MemoryStore()
    async with running(store) as run:
        told = await becomes(run, ready=True)
        assert "[+]etcd ok: revision " in told
        assert "[+]cache ok: 0 nodes, 0 blocks, 0 addresses" in told
        store.fail()
        assert "[-]etcd failed: " in await becomes(run, ready=False)
        store.mend()
        await becomes(run, ready=True)


async def test_what_is_not_read_yet_is_named() -> None:
    store = MemoryStore()
    store.fail()
    async with running(store, whole=False) as run:
        told = await becomes(run, ready=False)
        assert "[-]cache failed: not read yet: topology, nodes/, blocks/, addresses/, reservations/" in told
        assert "[-]history failed: the store's history is not adopted yet" in told
        store.mend()
        await becomes(run, ready=True)


async def test_a_recovery_is_told_and_ipamd_stays_ready_for_those_who_end_it() -> None:
    store = MemoryStore()
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        backup = {item.key: item.value for item in (await store.list("")).items}
        for number in range(20):
            await run.ip("n1", f"c{number}")
        store.restore(backup)
        await until(lambda: run.ipamd.recovery.under_way and "n1" in run.ipamd.recovery.waits_for)
        told = await becomes(run, ready=True)
        assert "[~]recovery: no address is given out; waits for n1 (romana ipam recovery)" in told
