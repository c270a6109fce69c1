"""ipamd's health as a process on a real etcd: it tells the truth about etcd, by HTTP and gRPC, without a restart; its figures."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from romana import keys
from romana.errors import Exhausted, NotFound
from romana.store.api import Put
from romana.store.etcd import EtcdStore
from tests.etcd.cluster import EtcdCluster
from tests.etcd.server import EtcdServer
from tests.etcd.test_ipamd_process import COMMAND, configure, until_healthy
from tests.health_client import ask, lines, values
from tests.ipamd import Calls, flat, until

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]  # an etcd that stands still is noticed after seconds

STATES = ("allocated", "cooling", "reserved", "free")


class Daemon:
    """An ipamd with a socket for its health."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.health = f"{folder}/health"
        self.address = f"unix:{folder}/a.sock"
        self.config = configure(folder, etcd, ipam={"cooldown_s": 3600})
        self.log = folder / "log"

    @contextmanager
    def runs(self, health: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """As a process, ended by its own pid; `health`: told there, and not at the socket."""
        environ = {**os.environ, "ROMANA_HEALTH_IPAMD": health or f"unix:{self.health}"}
        with self.log.open("ab") as log:
            started = subprocess.Popen([*COMMAND, "--config", str(self.config)], stderr=log, env=environ)
        try:
            yield started
        finally:
            started.kill()
            started.wait()

    async def answers(self) -> bool:
        """Whether it is alive."""
        try:
            return (await ask(self.health, "/livez")).status == 200
        except OSError:
            return False

    async def becomes(self, status: int) -> str:
        """Wait until `/readyz` says so; what it said."""
        found = await ask(self.health, "/readyz")
        while found.status != status:
            found = await ask(self.health, "/readyz")
        return found.body

    async def page(self) -> str:
        """Its metrics."""
        found = await ask(self.health, "/metrics")
        assert found.status == 200
        return found.body


@pytest.fixture
def daemon(own_etcd: EtcdServer, tmp_path: Path) -> Daemon:
    """Not started yet."""
    return Daemon(tmp_path, own_etcd.target)


async def until_alive(daemon: Daemon) -> None:
    async with asyncio.timeout(60):
        while not await daemon.answers():  # noqa: ASYNC110 - a process is asked, it tells nobody
            await asyncio.sleep(0.02)


async def test_readiness_follows_etcd_frozen_dead_and_back_without_a_restart(own_etcd: EtcdServer, daemon: Daemon) -> None:
    with daemon.runs() as process:
        await until_alive(daemon)
        ready = await daemon.becomes(200)
        assert lines(ready, "[+]etcd ok: revision ")
        assert lines(ready, "[+]cache ok: 0 nodes")
        assert lines(ready, "[+]history ok: ")
        await until_healthy(daemon.address)
        own_etcd.freeze()
        try:
            told = await daemon.becomes(503)
            assert lines(told, "[-]etcd failed: ")
            assert "before: revision " in told
            assert lines(told, "[+]cache ok: ")
            await until_healthy(daemon.address, wanted=False)
            assert await daemon.answers()
            assert sum(values(await daemon.page(), "romana_store_call_seconds_count", outcome="unavailable"))
        finally:
            own_etcd.thaw()
        assert lines(await daemon.becomes(200), "[+]etcd ok: revision ")
        await until_healthy(daemon.address)
        await asyncio.to_thread(own_etcd.kill)
        assert lines(await daemon.becomes(503), "[-]etcd failed: ")
        await asyncio.to_thread(own_etcd.start)
        await daemon.becomes(200)
        await until_healthy(daemon.address)
        assert process.poll() is None


async def test_it_lives_and_is_not_ready_before_etcd_is_there(own_etcd: EtcdServer, daemon: Daemon) -> None:
    await asyncio.to_thread(own_etcd.kill)
    with daemon.runs() as process:
        await until_alive(daemon)
        told = await daemon.becomes(503)
        assert lines(told, "[-]etcd failed: ")
        assert "topology" in lines(told, "[-]cache failed: not read yet: ")[0]
        assert lines(told, "[-]history failed: ")
        assert values(await daemon.page(), "romana_ipam_topology_generation") == [0]
        await asyncio.to_thread(own_etcd.start)
        await daemon.becomes(200)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
    assert not Path(daemon.health).exists()  # noqa: ASYNC240 - nothing else runs


async def test_figures_are_what_was_given_out(daemon: Daemon) -> None:
    calls = Calls(daemon.address)
    with daemon.runs():
        await calls.apply(flat("10.40.0.0/28", block_mask=30))
        for node in ("n1", "n2"):
            await calls.add_node(node)
        for number in range(5):
            await calls.ip("n1", f"c{number}")
        await calls.ip("n2", "d")
        await calls.release("n1", "c0")
        with pytest.raises(NotFound):
            await calls.ip("nobody", "x")
        page = await daemon.page()
        for place in ("network", "group"):
            states = {state: values(page, f"romana_ipam_{place}_addresses", network="pods", state=state) for state in STATES}
            assert states == {"allocated": [5], "cooling": [1], "reserved": [0], "free": [10]}
            assert values(page, f"romana_ipam_{place}_capacity", network="pods") == [16]
        for node, allocated, cooling in (("n1", 4, 1), ("n2", 1, 0)):
            assert values(page, "romana_ipam_node_addresses", node=node, state="allocated") == [allocated]
            assert values(page, "romana_ipam_node_addresses", node=node, state="cooling") == [cooling]
        assert values(page, "romana_ipam_nodes", state="active") == [2]
        assert values(page, "romana_ipam_topology_generation") == [1]
        assert values(page, "romana_ipam_request_seconds_count", call="Allocate", outcome="ok") == [6]
        assert values(page, "romana_ipam_request_seconds_count", call="Allocate", outcome="notfound") == [1]
        assert values(page, "romana_ipam_request_seconds_count", call="Release", outcome="ok") == [1]
        assert values(page, "romana_ipam_group_full") == [0]
        assert sum(values(page, "romana_ipam_commits_total", outcome="committed")) >= 7
        while sum(values(await daemon.page(), "romana_ipam_watch_lag_seconds_count")) < 7:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    await calls.client.close()


async def test_a_group_that_is_used_up_shows_as_full(etcd_store: EtcdStore, daemon: Daemon) -> None:
    calls = Calls(daemon.address)
    with daemon.runs():
        await calls.apply(flat("10.40.0.0/28", block_mask=30))
        await calls.add_node("n1")
        for number in range(16):
            await calls.ip("n1", f"c{number}")
        with pytest.raises(Exhausted):
            await calls.ip("n1", "c16")
        page = await daemon.page()
        assert values(page, "romana_ipam_group_full", network="pods") == [1]
        assert values(page, "romana_ipam_group_blocks", state="free") == [0]
        assert values(page, "romana_ipam_group_blocks", state="taken") == [4]
        assert values(page, "romana_ipam_node_blocks", node="n1") == [4]
        assert values(page, "romana_ipam_network_addresses", state="free") == [0]
        assert values(page, "romana_ipam_request_seconds_count", call="Allocate", outcome="exhausted") == [1]
        assert len((await etcd_store.list(keys.BLOCKS)).items) == 4
    await calls.client.close()


async def test_a_taken_port_is_told_with_its_key_and_ipamd_serves_all_the_same(tmp_path: Path, own_etcd: EtcdServer) -> None:
    daemon = Daemon(tmp_path, own_etcd.target)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with daemon.runs(f"127.0.0.1:{port}"):
            await until_healthy(daemon.address)
            await until(lambda: "change health.ipamd, or end what listens there" in daemon.log.read_text())
            calls = Calls(daemon.address)
            assert (await calls.apply(flat())).changed
            await calls.client.close()
            other.close()
            await until(lambda: '"health is told"' in daemon.log.read_text())


def test_an_address_that_is_none_is_told_and_ends_it_with_2(tmp_path: Path) -> None:
    environ = {**os.environ, "ROMANA_HEALTH_IPAMD": "localhost:9601"}
    command = [*COMMAND, "--config", str(configure(tmp_path, "127.0.0.1:1"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert ended.returncode == 2
    assert "health.ipamd: is 'localhost:9601'; must be ADDRESS:PORT" in ended.stderr


@pytest.mark.long
async def test_one_frozen_member_of_three_is_no_outage_and_two_are(etcd_installed: None, tmp_path: Path) -> None:
    with EtcdCluster() as cluster:
        daemon = Daemon(tmp_path, '", "'.join(cluster.targets))
        store = EtcdStore(cluster.targets_from(1))
        with daemon.runs():
            await until_alive(daemon)
            await daemon.becomes(200)
            with cluster.frozen(0):  # the one that it uses
                written = (await store.txn([], [Put("pods/a/b", b"")])).revision
                told = ""
                while not told or int(told.split("revision ")[1].split(",", maxsplit=1)[0]) < written:
                    told = lines(await daemon.becomes(200), "[+]etcd ok: ")[0]
                with cluster.frozen(1):
                    assert lines(await daemon.becomes(503), "[-]etcd failed: ")
            await daemon.becomes(200)
            await until_healthy(daemon.address)
        await store.close()
