"""`topology apply` killed by `kill -9` at each of its transactions: the old topology or the new one is in force, never half."""

import asyncio
import json
import signal
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from ipam.invariants import faults
from romana import keys
from romana.store.api import Put, Store
from romana.store.etcd import EtcdStore
from romana.v1 import store_pb2
from tests.etcd.server import EtcdServer
from tests.ipamd import Clock, running, until

pytestmark = pytest.mark.etcd

NODES = 130  # more than one transaction places
USED = 110  # addresses of a block: more than one transaction forgets


def document(moving: str) -> dict[str, Any]:
    """The group `stays` has a pod; all others stand in `moves`, of one block."""
    groups = [
        {"name": "stays", "assignment": {"rack": "r1"}, "cidr": "10.40.0.0/24"},
        {"name": "moves", "assignment": {"rack": "r2"}, "cidr": moving},
    ]
    network = {"name": "pods", "cidr": "10.40.0.0/16", "block_mask": 25}
    return {"networks": [network], "topologies": [{"networks": ["pods"], "map": groups}]}


OLD, NEW = "10.40.1.0/25", "10.40.2.0/25"


async def prepare(store: Store) -> None:
    """The old topology: a block without live addresses and 130 nodes stand where the new one wants nobody."""
    async with running(store, cooldown_s=0) as run:
        await run.apply(document(OLD))
        await run.add_node("s900", labels={"rack": "r1"})
        await run.ip("s900", "stays")
        await run.add_node("n0", labels={"rack": "r2"})
        await asyncio.gather(*(run.ip("n0", f"c{number}") for number in range(USED)))
        await asyncio.gather(*(run.release("n0", f"c{number}") for number in range(USED)))
        for number in range(1, NODES):
            await run.add_node(f"n{number}", labels={"rack": "r2"})
        await until(lambda: not run.ipamd.state.uneven)


async def copied(store: Store, prefix: str, server: EtcdServer) -> EtcdStore:
    """The same contents below another prefix."""
    items = (await store.list("")).items
    copy = EtcdStore([server.target], prefix)
    for start in range(0, len(items), 100):
        await copy.txn([], [Put(item.key, item.value) for item in items[start : start + 100]])
    return copy


async def apply_killed(server: EtcdServer, prefix: str, path: Path, number: int, when: str) -> int:
    """Run it; the number of its transactions, 0 where it was killed."""
    command = [sys.executable, "-m", "tests.etcd.killed_apply", server.target, prefix, str(path), str(number), when]
    started = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2], stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            out, _ = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    assert started.returncode == (-signal.SIGKILL if number else 0)
    return int(out or 0)


async def placements(store: Store) -> dict[str, str]:
    nodes = [store_pb2.Node.FromString(item.value) for item in (await store.list(keys.NODES)).items]
    return {node.name: node.placements[0].group_cidr for node in nodes if node.name != "s900"}


async def check_whole(store: Store) -> None:
    """What is in force is the old topology with everything as it was, or the new one with nothing of the old in its way."""
    item = await store.get(keys.TOPOLOGY)
    record = store_pb2.TopologyRecord.FromString(item.value if item else b"")
    cidrs = set((await placements(store)).values())
    blocks = {block.key.rpartition("/")[2] for block in (await store.list(keys.BLOCKS)).items}
    moving = json.loads(record.document)["topologies"][0]["map"][1]["cidr"]
    if record.generation == 1:
        assert (moving, cidrs) == (OLD, {OLD})
        assert "10.40.1.0_25" in blocks
    else:
        assert (record.generation, moving) == (2, NEW)
        assert NEW in cidrs  # the rest is placed by whoever comes
        assert "10.40.1.0_25" not in blocks
    assert await faults(store) == []


async def check_next_apply(store: Store) -> None:
    async with running(store, cooldown_s=0, clock=Clock()) as run:
        assert (await run.apply(document(NEW))).generation == 2
        assert set((await placements(store)).values()) == {NEW}
        block = keys.block("pods", ip_network(NEW))
        await until(lambda: block in run.ipamd.state.blocks.rows)  # one node has it ahead
        assert (await run.ip(run.ipamd.state.blocks.rows[block].value.node, "next")).startswith("10.40.2.")
        assert (await run.ip("s900", "stays")).startswith("10.40.0.")
        assert await faults(store) == []


async def check_killed(store: Store, server: EtcdServer, path: Path, points: list[tuple[int, str]]) -> None:
    for number, when in points:
        prefix = f"/{path.parent.name}-{number}-{when}/"
        copy = await copied(store, prefix, server)
        try:
            await apply_killed(server, prefix, path, number, when)
            await check_whole(copy)
            await check_next_apply(copy)
        finally:
            await copy.close()


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The file with the new document."""
    path = tmp_path / "new.json"
    path.write_text(json.dumps(document(NEW)))
    return path


async def steps(store: Store, server: EtcdServer, path: Path) -> int:
    """How many transactions an undisturbed apply has."""
    prefix = f"/{path.parent.name}-clean/"
    copy = await copied(store, prefix, server)
    try:
        found = await apply_killed(server, prefix, path, 0, "")
        assert set((await placements(copy)).values()) == {NEW}
        return found
    finally:
        await copy.close()


async def test_apply_that_is_killed_after_any_of_its_transactions(own_etcd: EtcdServer, etcd_store: EtcdStore, new: Path) -> None:
    await prepare(etcd_store)
    count = await steps(etcd_store, own_etcd, new)
    assert count >= 4  # two forget, one applies, the rest is placed
    await check_killed(etcd_store, own_etcd, new, [(number, "after") for number in range(1, count)])


@pytest.mark.long
async def test_apply_that_is_killed_before_any_of_its_transactions(
    own_etcd: EtcdServer, etcd_store: EtcdStore, new: Path
) -> None:
    await prepare(etcd_store)
    count = await steps(etcd_store, own_etcd, new)
    await check_killed(etcd_store, own_etcd, new, [(number, "before") for number in range(1, count + 1)])
