"""ipamd as a process on a real etcd: configuration, start without etcd, SIGTERM, and `kill -9` in the middle of a storm."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ipam.invariants import faults
from romana import keys
from romana.errors import Conflict, Unavailable
from romana.store.etcd import EtcdStore
from tests.etcd.server import EtcdServer
from tests.ipamd import Calls, flat, until

pytestmark = pytest.mark.etcd

COMMAND = [sys.executable, "-c", "from ipam.daemon import main; main()"]


def configure(folder: Path, etcd: str, name: str = "a", ipam: dict[str, object] | None = None) -> Path:
    """A configuration file; the socket is `<name>.sock` beside it."""
    path = folder / f"{name}.toml"
    settings = {"listen": [f"unix:{folder}/{name}.sock"], "cooldown_s": 0, **(ipam or {})}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    path.write_text(f'[etcd]\nendpoints = ["{etcd}"]\n[ipam]\n{lines}\n')
    return path


@contextmanager
def process(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running ipamd; ended by its own pid."""
    with config.with_suffix(".log").open("ab") as log:
        started = subprocess.Popen([*COMMAND, "--config", str(config)], stderr=log)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    """The API of whatever listens at `a.sock`."""
    made = Calls(f"unix:{tmp_path}/a.sock")
    yield made
    await made.client.close()


async def healthy(address: str, service: str = "") -> bool:
    """What the health service says; False when nobody answers."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def until_healthy(address: str, wanted: bool = True) -> None:
    async with asyncio.timeout(60):
        while await healthy(address) is not wanted:  # noqa: ASYNC110 - health is asked, not told
            await asyncio.sleep(0.05)


async def test_no_acknowledged_address_is_lost_or_doubled_by_kills_in_a_storm(
    own_etcd: EtcdServer, etcd_store: EtcdStore, tmp_path: Path, calls: Calls
) -> None:
    """S1, S10, S20, I1, I2: callers go on asking while ipamd is killed again and again."""
    config = configure(tmp_path, own_etcd.target)
    told: dict[str, str] = {}
    with process(config):
        await calls.apply(flat("10.40.0.0/22", 28))
        for number in range(3):
            await calls.add_node(f"n{number}")

    async def worker(number: int) -> None:
        for round_ in range(12):
            node, container = f"n{number % 3}", f"c{number}-{round_}"
            key = keys.attachment(node, "romana", container, "eth0")
            told[key] = (await _insist(calls, node, container)).addresses[0].ip
            if round_ % 3 == 2:
                del told[key]
                await calls.release(node, container)

    storm = asyncio.gather(*(worker(number) for number in range(24)))
    for _ in range(4):
        with process(config) as ipamd:
            await until_healthy(f"unix:{tmp_path}/a.sock")
            seen = len(told)
            await until(lambda seen=seen: len(told) > seen + 20 or storm.done())  # type: ignore[misc]
            ipamd.send_signal(signal.SIGKILL)
    with process(config):
        await storm
        assert await faults(etcd_store, told) == []
        assert len(set(told.values())) == len(told) == 24 * 8
        again = await asyncio.gather(*(calls.allocate(*_place(key)) for key in list(told)[:50]))
        assert [answer.addresses[0].ip for answer in again] == list(told.values())[:50]
        assert all(answer.existing for answer in again)


def _place(key: str) -> tuple[str, str]:
    node, _, container, _ = keys.split(keys.ATTACHMENTS, key, 4)
    return node, container


async def _insist(calls: Calls, node: str, container: str):  # type: ignore[no-untyped-def]
    """As an agent: what may succeed later is asked again."""
    while True:
        try:
            return await calls.allocate(node, container)
        except (Unavailable, Conflict):
            await asyncio.sleep(0.05)


async def test_sigterm_ends_it_cleanly_and_says_not_serving_first(own_etcd: EtcdServer, tmp_path: Path, calls: Calls) -> None:
    config = configure(tmp_path, own_etcd.target)
    with process(config) as ipamd:
        await calls.apply(flat())
        await until_healthy(f"unix:{tmp_path}/a.sock")
        ipamd.terminate()
        assert await asyncio.to_thread(ipamd.wait, 60) == 0
    assert '"ipamd stopped"' in config.with_suffix(".log").read_text()


async def test_it_starts_without_etcd_and_serves_when_etcd_comes(own_etcd: EtcdServer, tmp_path: Path) -> None:
    own_etcd.kill()
    address = f"unix:{tmp_path}/a.sock"
    impatient, patient = Calls(address, patience_s=1.0), Calls(address)
    with process(configure(tmp_path, own_etcd.target)):
        await until(lambda: Path(tmp_path, "a.sock").exists())
        assert not await healthy(address)
        with pytest.raises(Unavailable):
            await impatient.show()
        await asyncio.to_thread(own_etcd.start)
        await until_healthy(address)
        assert (await patient.apply(flat())).changed
        await asyncio.to_thread(own_etcd.kill)
        await until_healthy(address, wanted=False)
        with pytest.raises(Unavailable):
            await impatient.apply(flat("10.50.0.0/16"))
        await asyncio.to_thread(own_etcd.start)
        await until_healthy(address)
        assert (await patient.show()).generation == 1
    await impatient.client.close()
    await patient.client.close()


async def test_two_processes_share_one_etcd(own_etcd: EtcdServer, etcd_store: EtcdStore, tmp_path: Path) -> None:
    """S10: one is killed in the middle of a batch, the other goes on; clients change over by themselves."""
    one, two = (configure(tmp_path, own_etcd.target, name) for name in "ab")
    both = Calls(f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/b.sock")
    with process(one) as first, process(two):
        await both.apply(flat())
        await both.add_node("n1")
        asked = [asyncio.create_task(_insist(both, "n1", f"c{i}")) for i in range(60)]
        await until(lambda: sum(task.done() for task in asked) > 10)
        first.send_signal(signal.SIGKILL)
        answers = await asyncio.gather(*asked)
        told = {keys.attachment("n1", "romana", f"c{i}", "eth0"): answers[i].addresses[0].ip for i in range(60)}
        assert len(set(told.values())) == 60
        assert await faults(etcd_store, told) == []
    await both.client.close()


@pytest.mark.parametrize(
    ("ipam", "word"),
    [({"listen": ["0.0.0.0:9600"]}, "without TLS"), ({"cooldown_s": -1}, "cooldown_s"), ({"nonsense": 1}, "not a known key")],
)
def test_a_wrong_configuration_is_told_and_ends_it_with_2(tmp_path: Path, ipam: dict[str, object], word: str) -> None:
    config = configure(tmp_path, "127.0.0.1:1", ipam=ipam)
    ended = subprocess.run([*COMMAND, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_empty_list_of_etcd_endpoints_is_told_and_ends_it_with_2(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text(f'[etcd]\nendpoints = []\n[ipam]\nlisten = ["unix:{tmp_path}/a.sock"]\n')
    ended = subprocess.run([*COMMAND, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert "endpoint" in ended.stderr


def test_a_second_ipamd_on_the_same_socket_says_so(own_etcd: EtcdServer, tmp_path: Path) -> None:
    config = configure(tmp_path, own_etcd.target)
    with process(config):
        asyncio.run(until_healthy(f"unix:{tmp_path}/a.sock"))
        ended = subprocess.run([*COMMAND, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "a living server answers there" in ended.stderr
