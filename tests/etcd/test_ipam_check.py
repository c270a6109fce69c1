"""`romana ipam check [--repair]` as a command, beside ipamd as a process, on a real etcd."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ipam.invariants import faults
from romana import keys
from romana.store.etcd import EtcdStore
from tests.etcd.damage import endpoint_key, forget, key
from tests.etcd.server import EtcdServer
from tests.etcd.test_ipamd_process import configure, process
from tests.fakes.speaking_node import SpeakingNode, speaking
from tests.ipamd import Calls, flat

pytestmark = pytest.mark.etcd

ROMANA = str(Path(sys.executable).parent / "romana")


class Command:
    """The command line beside one ipamd."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.config = configure(folder, etcd, ipam={"endpoints": [f"unix:{folder}/a.sock"], "check_apart_s": 1.0})

    async def check(self, *options: str) -> tuple[int, Any]:
        """Exit code and JSON of `romana ipam check`."""
        started = self.start("-o", "json", *options)
        out, err = await asyncio.to_thread(started.communicate, timeout=110)
        assert started.returncode in {0, 1}, err
        return started.returncode, json.loads(out)

    def start(self, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [ROMANA, "ipam", "check", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"ROMANA_CONFIG": str(self.config), "COLUMNS": "300"},
        )


@pytest.fixture
def command(own_etcd: EtcdServer, tmp_path: Path) -> Command:
    return Command(tmp_path, own_etcd.target)


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    made = Calls(f"unix:{tmp_path}/a.sock")
    yield made
    await made.client.close()


async def _two_nodes(calls: Calls) -> None:
    await calls.apply(flat())
    for name in ("n1", "n2"):
        await calls.add_node(name)
        await calls.ip(name, "c1")


async def test_check_asks_the_agents_and_repairs_what_is_certain_and_nothing_else(
    etcd_store: EtcdStore, command: Command, calls: Calls
) -> None:
    with process(command.config):
        await _two_nodes(calls)
        nodes = (SpeakingNode("n1", containers=["c1"]), SpeakingNode("n2", containers=["c1"]))
        async with speaking(calls, *nodes):
            code, healthy = await command.check()
            assert (code, healthy["findings"], healthy["nodes_asked"], healthy["nodes_heard"]) == (0, [], 2, 2)
            assert (await command.check("--repair"))[0] == 0
            nodes[0].boot_id = "boot-2"  # it has booted, and c1 is not there any more
            nodes[0].interfaces.clear()
            nodes[1].interfaces.clear()  # of this boot: the agent's to release
            before = (await etcd_store.list("")).revision
            code, found = await command.check()
            assert (code, (await etcd_store.list("")).revision) == (1, before)
            told = {(one["kind"], one["node"], one["repair"]) for one in found["findings"]}
            assert told == {("attachment-boot-replaced", "n1", "release"), ("attachment-no-interface", "n2", None)}
            code, done = await command.check("--repair")
            assert code == 1
            assert {one["node"]: one["outcome"] for one in done["findings"]} == {"n1": "repaired", "n2": ""}
        assert await etcd_store.get(key("n1", "c1")) is None
        assert await etcd_store.get(key("n2", "c1")) is not None
        assert await faults(etcd_store) == []


async def test_the_table_has_the_evidence_with_keys_and_revisions_and_what_a_repair_would_do(
    etcd_store: EtcdStore, command: Command, calls: Calls
) -> None:
    with process(command.config):
        await _two_nodes(calls)
        await forget(etcd_store, keys.node("n1"), endpoint_key("c1"))
        item = await etcd_store.get(key("n1", "c1"))
        assert item is not None
    shown = command.start("--wait-s", "0")  # no ipamd is needed to look
    out, err = await asyncio.to_thread(shown.communicate, timeout=110)
    assert shown.returncode == 1, err
    for text in ("attachment-node-gone", f"{item.key}@{item.mod_revision}", "nodes/n1@0: absent", "release it", "10.40.0.0"):
        assert text in out
    assert "2 of 2 agents were not heard" in err


async def test_ipamd_killed_between_the_sightings_does_not_stop_the_repair(
    etcd_store: EtcdStore, command: Command, calls: Calls
) -> None:
    with process(command.config):
        await _two_nodes(calls)
        await forget(etcd_store, keys.node("n1"))
        repairing = command.start("--repair", "-o", "json")
        assert repairing.stderr is not None
        while "looking again" not in await asyncio.to_thread(repairing.stderr.readline):
            assert repairing.poll() is None
    with process(command.config):
        out, _ = await asyncio.to_thread(repairing.communicate, timeout=110)
        outcomes = {one["kind"]: one["outcome"] for one in json.loads(out)["findings"]}
        assert outcomes == {"attachment-node-gone": "repaired", "block-owner-gone": ""}
        assert await etcd_store.get(key("n1", "c1")) is None
        assert len((await etcd_store.list(keys.JOURNAL)).items) == 1
        assert await faults(etcd_store) == []
        assert (await command.check("--repair"))[0] == 0


async def test_reconciler_of_an_ipamd_that_is_killed_again_and_again_repairs_in_the_end(
    etcd_store: EtcdStore, own_etcd: EtcdServer, tmp_path: Path, calls: Calls
) -> None:
    config = configure(tmp_path, own_etcd.target, ipam={"check_interval_s": 0.2, "check_apart_s": 0.2})
    with process(config):
        await _two_nodes(calls)
        for number in range(2, 12):
            await calls.ip("n1", f"c{number}")
        await forget(etcd_store, keys.node("n1"))
    below = f"{keys.ATTACHMENTS}n1/"
    async with asyncio.timeout(100):
        while left := len((await etcd_store.list(below)).items):
            with process(config):
                while len((await etcd_store.list(below)).items) == left:  # noqa: ASYNC110 - etcd is asked
                    await asyncio.sleep(0.02)
    assert len((await etcd_store.list(keys.JOURNAL)).items) == 11
    assert await etcd_store.get(key("n2", "c1")) is not None
    assert await faults(etcd_store) == []
