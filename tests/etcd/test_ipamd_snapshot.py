"""The recovery of a restored store with a real etcd and etcdctl's own snapshots."""

import asyncio
import os
import random
import shutil
import subprocess
from contextlib import suppress

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import RomanaError
from romana.store.etcd import EtcdStore
from tests.etcd.server import EtcdServer
from tests.etcd.test_ipamd_restored import churn, noticed, recovered, waiting
from tests.fakes.live_node import LiveNode, doubled, told
from tests.ipamd import Running, flat, running, until

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="no etcdctl on the PATH: ./dev setup installs it"),
]


def etcdctl(server: EtcdServer, *arguments: str) -> str:
    """Its output; raises with what it says."""
    done = subprocess.run(
        ["etcdctl", *arguments],
        cwd=server.directory,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "ETCDCTL_API": "3"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def save(server: EtcdServer) -> None:
    """A backup, in its directory."""
    etcdctl(server, f"--endpoints={server.url}", "snapshot", "save", "backup.db")


def restore(server: EtcdServer, token: str) -> None:
    """End it, and start it from the backup; another token makes another cluster id, as docs/operations.md wants it."""
    server.kill()
    server.wipe()
    peer = "unix://it-p:0"
    options = [
        "--name=it",
        f"--initial-cluster=it={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--data-dir={server.data.name}",
    ]
    etcdctl(server, "snapshot", "restore", "backup.db", *options, *([f"--initial-cluster-token={token}"] if token else []))
    server.start()


@pytest.mark.parametrize("token", ["another", ""], ids=["new-cluster-id", "same-cluster-id"])
@pytest.mark.parametrize("restarted", [False, True], ids=["ipamd-runs-through", "ipamd-restarted"])
async def test_after_a_restore_nothing_live_is_lost_and_no_address_given_twice(
    own_etcd: EtcdServer, token: str, restarted: bool
) -> None:
    rng = random.Random(token + str(restarted))  # noqa: S311 - a test's choices
    nodes = [LiveNode(f"n{number}") for number in range(3)]
    store = EtcdStore([own_etcd.target])
    try:
        async with running(store, cooldown_s=0) as run:
            await run.apply(flat("10.40.0.0/24", 30))
            for node in nodes[:2]:
                await run.add_node(node.name)
            await churn(rng, [run], nodes[:2], 15)
            await asyncio.to_thread(save, own_etcd)
            await run.add_node("n2")
            await churn(rng, [run], nodes, 40)
            await run.ipamd.recovery.sync()
            if not restarted:
                await asyncio.to_thread(restore, own_etcd, token)
                await noticed(run)
                await _until_all_is_known(run, nodes)
                await churn(rng, [run], nodes, 40)
        if restarted:
            await asyncio.to_thread(restore, own_etcd, token)
            # Neither the store nor this ipamd knows of n2: its agent calls within `restore_hold_s`.
            async with running(store, cooldown_s=0, restore_hold_s=2.0) as run:
                if not token:  # nothing in the store tells: the first agent that calls does
                    assert (await nodes[2].ask(run)).HasField("restored")
                await noticed(run)
                await _until_all_is_known(run, nodes)
                await churn(rng, [run], nodes, 40)
        assert doubled(*nodes) == []
        assert await faults(store, told(*nodes)) == []
    finally:
        await store.close()


async def _until_all_is_known(run: Running, nodes: list[LiveNode]) -> None:
    """The node that was added after the backup is added again once it is named; then the agents speak."""
    for node in nodes:
        with suppress(RomanaError):
            await node.ask(run)
    async with asyncio.timeout(60):
        while "n2" not in (await waiting(run)).unknown:  # noqa: ASYNC110 - an ipamd that knew it notes it soon
            await asyncio.sleep(0.02)
    await run.add_node("n2")
    await recovered(run, *nodes)


async def test_an_empty_etcd_is_filled_again_from_what_lives(own_etcd: EtcdServer) -> None:
    """All data are lost, and ipamd runs on: schema and history are written anew, then topology, nodes, what lives."""
    rng = random.Random(1)  # noqa: S311 - a test's choices
    nodes = [LiveNode("n0"), LiveNode("n1")]
    store = EtcdStore([own_etcd.target])
    try:
        async with running(store, cooldown_s=0) as run:
            await run.apply(flat("10.40.0.0/24", 30))
            for node in nodes:
                await run.add_node(node.name)
            await churn(rng, [run], nodes, 30)
            await run.ipamd.recovery.sync()
            await asyncio.to_thread(_empty, own_etcd)
            await noticed(run)
            await until(lambda: run.ipamd.recovery._waiting == ["n0", "n1"])
            assert (await waiting(run)).unknown == ["n0", "n1"]
            await run.apply(flat("10.40.0.0/24", 30))
            for node in nodes:
                await run.add_node(node.name)
            await recovered(run, *nodes)
            await churn(rng, [run], nodes, 30)
            assert await store.get(keys.SCHEMA) is not None
        assert doubled(*nodes) == []
        assert await faults(store, told(*nodes)) == []
    finally:
        await store.close()


def _empty(server: EtcdServer) -> None:
    server.kill()
    server.wipe()
    server.start()
