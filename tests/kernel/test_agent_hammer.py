"""Many calls: nothing leaks, nobody disturbs another, and kills at random points leave what DEL can clean."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.fakes.cni_direct import Caller
from tests.fakes.cni_node import Node, a_node, ip, namespace, pings, until

pytestmark = pytest.mark.kernel

WAIT_S = 60.0
LONG = pytest.mark.long


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        made.ipamd.network = IPv4Network("10.40.0.0/22")
        made.ipamd.free = [str(address) for address in made.ipamd.network.hosts()]
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


@contextlib.contextmanager
def pods(count: int) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(namespace("pod")) for _ in range(count)]


def held_by(node: Node) -> tuple[int, int]:
    """Descriptors and threads of the agent."""
    assert node.agent
    process = Path(f"/proc/{node.agent.pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=[LONG, pytest.mark.timeout(3600)])])
async def test_pairs_leak_no_descriptor_and_no_thread(node: Node, pod: str, count: int) -> None:
    caller = Caller(node)

    async def pairs(number: int) -> None:
        for command in ("ADD", "DEL"):
            assert (await caller.call(command, pod, cid=f"c{number}")).status == 0

    for start in range(0, 40, 8):  # warm: as many threads and sockets as eight calls at once need
        await asyncio.gather(*(caller.call("ADD", pod, cid="warm", ifname=f"w{number}") for number in range(start, start + 8)))
        await asyncio.gather(*(caller.call("DEL", pod, cid="warm", ifname=f"w{number}") for number in range(start, start + 8)))
    before = held_by(node)
    for number in range(count):
        await pairs(number)
    await until(lambda: held_by(node) <= before, WAIT_S)
    await node.cleaned()
    assert ip("-n", pod, "rule").count("\n") == 3  # local, main, default
    assert (node.folder / "state" / "tombstones").stat().st_size < 2 << 20


@pytest.mark.parametrize("batches", [False, True])
async def test_a_hundred_adds_at_once_and_then_a_hundred_dels(node: Node, batches: bool) -> None:
    if batches:
        await node.ipamd.stop()
        node.ipamd.batches = True
        await node.start_ipamd()
    caller = Caller(node)
    with pods(100) as names:
        added = await asyncio.gather(*(caller.call("ADD", name) for name in names))
        assert {answer.status for answer in added} == {0}
        addresses = [answer.json["ips"][0]["address"].split("/")[0] for answer in added]
        assert sorted(addresses) == sorted(node.ipamd.held.values())
        assert len(set(addresses)) == 100
        assert all(await asyncio.gather(*(pings(node.name, address, timeout_s=10) for address in addresses[::10])))
        deleted = await asyncio.gather(*(caller.call("DEL", name) for name in names))
        assert {answer.status for answer in deleted} == {0}
        await node.cleaned()
    assert bool(node.ipamd.sizes) == batches
    assert not batches or max(node.ipamd.sizes) > 5


async def test_refusals_of_a_batch_reach_their_own_calls_and_leave_nothing(node: Node) -> None:
    await node.ipamd.stop()
    node.ipamd.batches = True
    await node.start_ipamd()
    node.ipamd.free = node.ipamd.free[:5]
    caller = Caller(node)
    with pods(20) as names:
        added = await asyncio.gather(*(caller.call("ADD", name) for name in names))
        assert sorted(answer.json.get("code", 0) for answer in added) == [0] * 5 + [100] * 15
        assert node.ipamd.sizes
        assert len(node.interfaces()) == len(node.ipamd.held) == len(node.records) == 5
        assert not node.intents
        for name, answer in zip(names, added, strict=True):
            assert ("eth0" in ip("-n", name, "link")) == (answer.status == 0)
        await asyncio.gather(*(caller.call("DEL", name) for name in names))
        await node.cleaned()


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=[LONG, pytest.mark.timeout(3600)])])
async def test_shims_killed_at_any_moment_of_add_leave_what_one_del_cleans(node: Node, count: int) -> None:
    dice = random.Random(5)  # noqa: S311 - the same moments every time
    caller = Caller(node)
    node.ipamd.delay_s["Allocate"] = 0.004

    async def killed(pod: str, number: int) -> None:
        connection = await caller.send("ADD", pod, cid=f"c{number}")
        await asyncio.sleep(dice.random() * 0.03)
        connection.close()
        assert (await caller.call("DEL", pod, cid=f"c{number}")).status == 0
        assert "eth0" not in await asyncio.to_thread(ip, "-n", pod, "link")

    async def worker(pod: str, first: int) -> None:
        for number in range(first, count, 4):
            await killed(pod, number)

    with pods(4) as names:
        await asyncio.gather(*(worker(name, place) for place, name in enumerate(names)))
        await node.cleaned()


@pytest.mark.parametrize("count", [15, pytest.param(200, marks=[LONG, pytest.mark.timeout(3600)])])
async def test_agent_killed_at_any_moment_of_add_or_del_leaves_what_one_del_cleans(node: Node, count: int) -> None:
    dice = random.Random(11)  # noqa: S311 - the same moments every time
    caller = Caller(node)
    node.ipamd.delay_s = {"Allocate": 0.004, "Release": 0.004}
    with pods(4) as names:
        for number in range(count):
            ids = [f"c{number}-{name}" for name in names]
            for name, cid in list(zip(names, ids, strict=True))[:2]:
                await caller.call("ADD", name, cid=cid)
            commands = ("DEL", "DEL", "ADD", "ADD")
            calls = [caller.call(command, name, cid=cid) for command, name, cid in zip(commands, names, ids, strict=True)]
            running = [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(dice.random() * 0.04)
            await node.kill_agent()
            await asyncio.gather(*running, return_exceptions=True)
            await node.start_agent()
            for name, cid in zip(names, ids, strict=True):
                assert (await caller.call("DEL", name, cid=cid)).status == 0
            await node.cleaned()
            assert "eth0" not in "".join(ip("-n", name, "link") for name in names)


async def test_agent_restarted_under_load_loses_nothing(node: Node) -> None:
    """ADDs and DELs go on through two restarts, as a runtime does: what fails is tried again."""
    caller = Caller(node)
    broken = 0

    async def until_done(command: str, name: str) -> None:
        nonlocal broken
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    if (await caller.call(command, name)).status == 0:
                        return
                except OSError:
                    broken += 1
                if command == "ADD":  # kubelet takes a failed sandbox down before the next
                    await until_done("DEL", name)
                await asyncio.sleep(0.02)

    async def life(name: str) -> None:
        for _ in range(8):
            await until_done("ADD", name)
            await until_done("DEL", name)
        await until_done("ADD", name)

    with pods(4) as names:
        lives = [asyncio.create_task(life(name)) for name in names]
        for kill in (node.kill_agent, node.stop_agent):
            await asyncio.sleep(0.1)
            await kill()
            await node.start_agent()
        await asyncio.gather(*lives)
        assert broken
        assert len(node.ipamd.held) == len(node.interfaces()) == len(node.records) == 4
        assert all([await pings(node.name, address) for address in node.ipamd.held.values()])
        for name in names:
            await until_done("DEL", name)
        await node.cleaned()


async def test_late_add_is_refused_by_the_agents_next_process(node: Node, pod: str) -> None:
    started_ns, caller = time.monotonic_ns(), Caller(node)
    assert (await caller.call("DEL", pod)).status == 0
    await node.kill_agent()
    await node.start_agent()
    refused = await caller.call("ADD", pod, started_ns=started_ns)
    assert (refused.status, refused.json["code"]) == (1, 11)
    await node.cleaned()
    assert (await caller.call("ADD", pod)).status == 0


async def test_ipamd_away_fails_add_in_time_and_del_succeeds_and_both_recover(node: Node, pod: str) -> None:
    caller = Caller(node)
    assert (await caller.call("ADD", pod)).status == 0
    await node.ipamd.stop()
    failed = await caller.call("ADD", pod, cid="another", ifname="net1")
    assert (failed.status, failed.json["code"]) == (1, 11)
    assert (await caller.call("DEL", pod)).status == 0
    assert not node.interfaces()
    assert node.ipamd.held
    await node.start_ipamd()
    await node.cleaned()
    assert (await caller.call("ADD", pod)).status == 0


async def test_exhausted_says_so_with_a_way_out_and_recovers(node: Node, pod: str) -> None:
    caller = Caller(node)
    node.ipamd.free = ["10.40.0.1"]
    assert (await caller.call("ADD", pod)).status == 0
    failed = await caller.call("ADD", pod, ifname="net1")
    assert (failed.status, failed.json["code"]) == (1, 100)
    assert failed.json["details"]
    assert len(node.interfaces()) == 1
    assert (await caller.call("DEL", pod)).status == 0
    assert (await caller.call("ADD", pod, ifname="net1")).status == 0
