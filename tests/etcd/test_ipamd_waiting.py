"""A node of a full group gets its block ahead as soon as one comes back, with nothing happening to the node itself."""

import asyncio
from ipaddress import ip_network

from ipam.invariants import faults
from ipam.spares import SETTLE_S
from romana.store.api import Store
from tests.ipamd import Clock, Running, flat, running, until

COOLDOWN_S = 30


async def blocks_of(run: Running, name: str) -> list[str]:
    return [block.cidr for block in (await run.node(name)).blocks]


async def full_group(run: Running) -> None:
    """Four blocks of 4: n1 has one, three quarters used, and would have another; n2 has the rest."""
    await run.apply(flat("10.40.0.0/28", 30))
    await run.add_node("n1")
    await run.ip("n1", "a1")
    await run.add_node("n2")
    for number in range(12):
        await run.ip("n2", f"b{number}")
    for number in (2, 3):
        await run.ip("n1", f"a{number}")
    await until(lambda: not run.ipamd.state.uneven)
    assert await blocks_of(run, "n1") == ["10.40.0.0/30"]


async def until_two(run: Running, clock: Clock) -> None:
    async with asyncio.timeout(60):
        while len(await blocks_of(run, "n1")) < 2:
            clock.now_s += SETTLE_S
            await asyncio.sleep(0.05)


async def test_block_that_another_node_gives_back_as_spare(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await full_group(run)
        for number in range(3, 12):
            await run.release("n2", f"b{number}")
        await until_two(run, clock)
        assert await faults(store) == []


async def test_block_of_a_node_that_is_removed(store: Store) -> None:
    clock = Clock()
    async with running(store, COOLDOWN_S, clock) as run:
        await full_group(run)
        await run.remove("n2", force=True)
        await until_two(run, clock)
        assert await faults(store) == []


async def test_block_that_was_reserved(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/29", 30))
        await run.ipamd.reservations.reserve(ip_network("10.40.0.4/30"), "")
        await run.add_node("n1")
        for number in range(3):
            await run.ip("n1", f"a{number}")
        await until(lambda: not run.ipamd.state.uneven)
        assert await blocks_of(run, "n1") == ["10.40.0.0/30"]
        await run.ipamd.reservations.release(ip_network("10.40.0.4/30"))
        await until_two(run, Clock())
