"""docs/operations.md, tried as it is written: its blocks against an etcd, an ipamd and the command line of this test."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ipam.check.finding import Kind
from ipam.invariants import faults
from romana import keys
from romana.errors import Unavailable
from romana.reconcile import ReceiptWriter
from romana.reconcile.receipt import Report
from romana.store.api import Delete, Put
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore
from tests.etcd.leftovers import new_directory
from tests.fakes.live_node import LiveNode, doubled, told
from tests.ipamd import Calls, flat, running

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="no etcdctl on the PATH: ./dev setup installs it"),
]

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = [
    re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE, flags=re.MULTILINE | re.DOTALL)
]
FLAGS = re.findall(r"^(ETCD_[A-Z_]+=\S+)$", PAGE, flags=re.MULTILINE)
WAIT_S = 60.0

SYSTEMCTL = """#!/bin/sh
# What systemd does, for the two programs of the test.
set -eu
pid=$FOLDER/$2.pid
case $1-$2 in
stop-*) kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.05; done ;;
start-etcd) etcd --listen-client-urls=$CLIENT --advertise-client-urls=$CLIENT --listen-peer-urls=$PEER \\
    --initial-advertise-peer-urls=$PEER --initial-cluster=default=$PEER --log-level=warn --logger=zap >>"$FOLDER/etcd.log" 2>&1 &
    echo $! >"$pid"; for _ in $(seq 600); do etcdctl endpoint health >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1 ;;
start-romana-ipamd) romana-ipamd --config "$ROMANA_CONFIG" >>"$FOLDER/ipamd.log" 2>&1 & echo $! >"$pid" ;;
esac
"""


class Machine:
    """Where the page's commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = _free_ports(2)
        self.client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        self.target = f"127.0.0.1:{ports[0]}"
        self._replaced = {"http://127.0.0.1:2379": self.client, "http://127.0.0.1:2380": peer}
        self._replaced |= {path: f"{folder}{path}" for path in ("/var/lib/etcd", "/var/backups", "/etc/romana")}
        for path in ("bin", "var/lib/etcd", "var/backups", "etc/romana"):
            (folder / path).mkdir(parents=True)
        (folder / "bin" / "systemctl").write_text(SYSTEMCTL)
        (folder / "bin" / "systemctl").chmod(0o755)
        config = folder / "config.toml"
        config.write_text(
            f'[etcd]\nendpoints = ["{self.target}"]\n'
            f'[ipam]\nlisten = ["unix:{folder}/ipamd"]\nendpoints = ["unix:{folder}/ipamd"]\nrestore_hold_s = 1\ncooldown_s = 0\n'
            "check_apart_s = 0.5\n"
        )
        programs = Path(sys.executable).parent
        self.environ = os.environ | {
            "PATH": f"{folder}/bin:{programs}:{os.environ['PATH']}", "ROMANA_CONFIG": str(config), "FOLDER": str(folder),
            "CLIENT": self.client, "PEER": peer,
        }  # fmt: skip
        self.environ |= dict(self.text(flag).split("=", 1) for flag in FLAGS)

    def text(self, text: str) -> str:
        """Of the page, with the addresses and paths of this machine."""
        for written, here in self._replaced.items():
            text = text.replace(written, here)
        return text

    def sh(self, script: str) -> str:
        """Run what the page says, in a shell that has said the first block; its output."""
        script = f"set -eu\n{self.text(BLOCKS[0])}\n{self.text(script)}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environ, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def end(self) -> None:
        """End what it started."""
        for name in ("romana-ipamd", "etcd"):
            if (self.folder / f"{name}.pid").exists():
                subprocess.run(["bash", "-c", f"kill -9 $(cat {name}.pid)"], cwd=self.folder, check=False, capture_output=True)


def block(*words: str) -> str:
    """The block of the page that has these words."""
    (found,) = [script for script in BLOCKS if all(word in script for word in words)]
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
async def machine(etcd_installed: None) -> AsyncIterator[Machine]:
    folder = new_directory()
    made = Machine(folder)
    try:
        await asyncio.to_thread(made.sh, "systemctl start etcd")
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


async def test_flags_are_etcds_and_the_checks_run(machine: Machine) -> None:
    await asyncio.to_thread(machine.sh, "systemctl start romana-ipamd")
    found = await asyncio.to_thread(machine.sh, block("endpoint health", "romana status"))
    assert "3.4" in found or "3.5" in found
    assert "unrecognized" not in (machine.folder / "etcd.log").read_text()


async def test_backup_and_restore_as_written_lose_nothing_that_lives(machine: Machine) -> None:
    """Also compaction, defragmentation and pruning of the journal."""
    run = Calls(f"unix:{machine.folder}/ipamd")
    nodes = [LiveNode(f"node-{number}") for number in range(1, 4)]
    store = EtcdStore([machine.target])
    try:
        await asyncio.to_thread(machine.sh, "systemctl start romana-ipamd")
        await run.apply(flat("10.40.0.0/24", 30))
        for node in (nodes[0], nodes[2]):
            await run.add_node(node.name)
        await _pods(run, nodes[0], range(3))
        saved = await asyncio.to_thread(machine.sh, block("snapshot save"))
        assert "REVISION" in saved
        await run.add_node("node-2")
        await _pods(run, nodes[0], range(3, 9))
        await _pods(run, nodes[1], range(9))
        lost, nodes = nodes[2], nodes[:2]
        await lost.add(run, "gone")  # node-3 dies for good, with what it got after the backup
        await asyncio.to_thread(machine.sh, block("systemctl stop etcd"))
        await asyncio.to_thread(machine.sh, block("snapshot restore"))
        async with asyncio.timeout(WAIT_S):
            while "waits for" not in (said := await asyncio.to_thread(machine.sh, block("recovery || true"))):
                pass
        # Whichever of the two ipamd meets first: both are true.
        assert "the contents were written in etcd cluster" in said or "ipamd saw revision" in said
        for node in nodes:
            await node.ask(run)
        await asyncio.to_thread(machine.sh, block("romana node add node-2"))
        await _recovered(run, nodes)
        await _pods(run, nodes[0], range(10, 20))
        await _pods(run, nodes[1], range(10, 20))
        assert doubled(*nodes) == []
        assert await faults(store, told(*nodes)) == []
        await nodes[0].delete(run, "c0")
        await asyncio.to_thread(machine.sh, _defrags()[0])
        assert len((await store.list(keys.JOURNAL)).items) >= 1
        before = len((await store.list(keys.JOURNAL)).items)
        await asyncio.to_thread(machine.sh, block("etcdctl del"))
        assert len((await store.list(keys.JOURNAL)).items) == before  # younger than 30 days
        await asyncio.to_thread(machine.sh, block("etcdctl del").replace("-30 days", "+1 day"))
        assert (await store.list(keys.JOURNAL)).items == ()
        assert await faults(store, told(*nodes)) == []
    finally:
        await run.client.close()
        await store.close()


def _defrags() -> list[str]:
    return [script for script in BLOCKS if "etcdctl defrag" in script]


async def _pods(run: Calls, node: LiveNode, numbers: range) -> None:
    for number in numbers:
        await node.add(run, f"c{number}")


async def _recovered(run: Calls, nodes: list[LiveNode]) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await nodes[0].ask(run)).HasField("restored"):
            for node in nodes:
                await node.ask(run)
            await asyncio.sleep(0.2)


async def test_leaks_are_found_and_repaired_as_written(machine: Machine) -> None:
    run, store = Calls(f"unix:{machine.folder}/ipamd"), EtcdStore([machine.target])
    try:
        await asyncio.to_thread(machine.sh, "systemctl start romana-ipamd")
        await run.apply(flat("10.40.0.0/24", 30))
        for name in ("n1", "n2"):
            await run.add_node(name)
            await run.ip(name, "c1")
        await store.txn([], [Delete(keys.node("n1"))])
        said = await asyncio.to_thread(machine.sh, block("ipam check --repair"))
        assert said.count("attachment-node-gone") == 2
        assert "repaired: release it" in said
        assert "nothing is wrong at revision" in said
        assert [item.key for item in (await store.list(keys.ATTACHMENTS)).items] == ["attachments/n2/romana/c1/eth0"]
        assert await faults(store) == []
    finally:
        await run.client.close()
        await store.close()


def test_the_page_tells_of_every_finding_that_there_is() -> None:
    named = set(re.findall(r"`([a-z-]+)`", "\n".join(re.findall(r"^\| (`[^|]+) \|", PAGE, flags=re.MULTILINE))))
    assert {kind.value for kind in Kind} <= named


async def test_a_full_database_is_emptied_as_written(machine: Machine) -> None:
    await asyncio.to_thread(machine.sh, "systemctl stop etcd")
    machine.environ["ETCD_QUOTA_BACKEND_BYTES"] = str(8 * 2**20)
    await asyncio.to_thread(machine.sh, "systemctl start etcd")
    store = EtcdStore([machine.target])
    try:
        with pytest.raises(Unavailable, match=r"space exceeded.*docs/operations\.md"):
            await _fill(store)
        assert "NOSPACE" in await asyncio.to_thread(machine.sh, "etcdctl alarm list")
        await asyncio.to_thread(machine.sh, block("alarm disarm"))
        assert await asyncio.to_thread(machine.sh, "etcdctl alarm list") == ""
        await store.txn([], [Put("journal/filled", b"x")])
    finally:
        await store.close()


async def _fill(store: EtcdStore) -> None:
    for _ in range(100):
        await store.txn([], [Put("journal/filled", b"x" * 500_000)])


async def test_roles_are_enough_for_each_program_and_no_more(machine: Machine) -> None:
    await asyncio.to_thread(machine.sh, block("grant()"))
    await asyncio.to_thread(
        machine.sh, "etcdctl user add root:secret && etcdctl user grant-role root root && etcdctl auth enable"
    )
    stores = {}
    try:
        for name in ("romana-ipamd", "romana-policyd", "romana-routed", "romana-admin"):
            (machine.folder / name).write_text("change-me\n")
            stores[name] = EtcdStore(
                [machine.target], credentials=Credentials(user=name, password_file=str(machine.folder / name))
            )
        async with running(stores["romana-ipamd"], cooldown_s=0) as run:
            await run.apply(flat("10.40.0.0/24", 30))
            await run.add_node("n1")
            node = LiveNode("n1")
            await stores["romana-admin"].txn([], [Put(keys.pod("default", "web"), b"")])
            await node.add(run, "c0", ("default", "web", ""))
            await node.delete(run, "c0")
            await stores["romana-ipamd"].txn([], [Put(keys.HISTORY, b"")])  # as of another cluster
            async with asyncio.timeout(WAIT_S):
                while not (await node.ask(run)).HasField("restored"):  # noqa: ASYNC110 - it is asked
                    await asyncio.sleep(0.05)
            await _recovered(run, [node])
            await node.add(run, "c1")
        await _daemon(
            stores["romana-policyd"], ["policies/", "namespaces/", "pods/default/", "endpoints/", "attachments/n1/"], "policyd"
        )
        await _daemon(stores["romana-routed"], ["nodes/", "blocks/"], "routed")
        assert len((await stores["romana-admin"].list("")).items) > 5
        for name in ("romana-policyd", "romana-routed", "romana-admin"):
            for key in ("blocks/pods/10.40.0.0_30", "addresses/pods/10.40.0.0", "topology", "schema", "history"):
                with pytest.raises(Unavailable, match="permission denied"):
                    await stores[name].txn([], [Put(key, b"")])
        with pytest.raises(Unavailable, match="permission denied"):
            await stores["romana-ipamd"].txn([], [Put("policies/default/NetworkPolicy/p", b"")])
    finally:
        for store in stores.values():
            await store.close()


async def _daemon(store: EtcdStore, prefixes: list[str], name: str) -> None:
    """What a daemon of a node does with the store: schema, lists and watches, its receipt."""
    opened = await store.get(keys.SCHEMA)
    assert opened is not None
    for prefix in prefixes:
        listing = await store.list(prefix)
        watch = store.watch(prefix, listing.revision + 1)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await watch.aclose()
    writer = ReceiptWriter(store, keys.receipt("n1", name), backend="netlink")
    task = asyncio.create_task(writer.run())
    writer.report(Report({"nodes/": 1}))
    async with asyncio.timeout(WAIT_S):
        while await store.get(keys.receipt("n1", name)) is None:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pod_takes_no_more_of_the_database_than_the_page_says(machine: Machine) -> None:
    """Twice of it at most: pages of the database are of 4 KiB."""
    page = {
        line.split("|")[1].strip(): int(line.split("|")[2].replace(",", ""))
        for line in PAGE.splitlines()
        if re.match(r"\| .* \| [\d,]+ \|$", line)
    }
    live, history, left = page.values()
    store, count = EtcdStore([machine.target]), 1000
    try:
        async with running(store, cooldown_s=30) as run:
            await run.apply(flat("10.40.0.0/16", 26))
            for number in range(5):
                await run.add_node(f"n{number}")
            empty = await asyncio.to_thread(_settled, machine)
            pods = [("default", f"web-7d4b9c6f5d-{i:05d}", f"5f0d2a4e-0000-4000-8000-{i:012d}") for i in range(count)]
            for namespace, name, uid in pods:
                await store.txn([], [Put(keys.pod(namespace, name), b"\n$" + uid.encode())])
            before = await asyncio.to_thread(_size, machine)
            await asyncio.gather(*(run.allocate(f"n{i % 5}", f"{i:064x}", pod) for i, pod in enumerate(pods)))
            full = await asyncio.to_thread(_settled, machine)
            await asyncio.gather(*(run.release(f"n{i % 5}", f"{i:064x}") for i in range(count)))
            after = await asyncio.to_thread(_size, machine)
            released = await asyncio.to_thread(_settled, machine)
        assert (full - empty) / count <= 2 * live
        assert (after - full + full - before) / count <= 2 * history
        assert (released - empty) / count <= 2 * left
    finally:
        await store.close()


def _settled(machine: Machine) -> int:
    machine.sh(_defrags()[0])
    return _size(machine)


def _size(machine: Machine) -> int:
    (member,) = json.loads(machine.sh("etcdctl endpoint status --write-out=json"))
    size: int = member["Status"]["dbSize"]
    return size
