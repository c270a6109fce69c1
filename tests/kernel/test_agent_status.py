"""STATUS: what this node cannot do; by default nothing that would evict healthy pods. CNI spec 1.1, section 4 "STATUS"."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.cni_node import Node, Ran, a_node, namespace
from tests.fakes.policyd import FakePolicyd

pytestmark = pytest.mark.kernel


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
async def strict(node: Node) -> Node:
    """A node whose STATUS is the specification's letter."""
    node.settings["status_strict"] = True
    await node.stop_agent()
    await node.start_agent()
    return node


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def status(node: Node, **conf: Any) -> Ran:
    return await node.cni("STATUS", "", cid="", netns="", ifname="", conf={"cniVersion": "1.1.0"} | conf)


def failure(ran: Ran, code: int) -> str:
    """Its message."""
    assert (ran.status, ran.json["code"]) == (1, code), ran
    return str(ran.json["msg"])


async def test_a_node_that_serves_says_nothing(node: Node) -> None:
    ran = await status(node)
    assert (ran.status, ran.stdout, ran.stderr) == (0, b"", b"")


async def test_an_ipamd_that_is_away_evicts_nobody_by_default(node: Node) -> None:
    await node.ipamd.stop()
    assert (await status(node)).status == 0


async def test_an_ipamd_that_is_away_fails_the_strict_one_and_it_recovers(strict: Node) -> None:
    await strict.ipamd.stop()
    assert "ipamd does not answer" in failure(await status(strict), 50)
    await strict.start_ipamd()
    for _ in range(100):
        if (ran := await status(strict)).status == 0:
            break
    assert ran.status == 0


async def test_addresses_that_are_used_up_evict_nobody_by_default(node: Node, pod: str) -> None:
    node.ipamd.free.clear()
    assert (await node.cni("ADD", pod)).status == 1
    assert (await status(node)).status == 0


async def test_addresses_that_are_used_up_fail_the_strict_one_until_an_add_finds_one(strict: Node, pod: str) -> None:
    kept, strict.ipamd.free = strict.ipamd.free, []
    assert (await strict.cni("ADD", pod)).status == 1
    assert "no address" in failure(await status(strict), 50)
    strict.ipamd.free = kept
    assert (await strict.cni("ADD", pod)).status == 0
    assert (await status(strict)).status == 0


async def test_a_policyd_that_is_away_fails_the_strict_one_alone(strict: Node) -> None:
    strict.policy = {"required": True, "socket": f"{strict.folder}/nobody.sock"}
    await strict.stop_agent()
    await strict.start_agent()
    assert "policyd does not answer" in failure(await status(strict), 50)


async def test_a_policyd_that_is_stopped_takes_connections_and_fails_the_strict_one(strict: Node) -> None:
    path = f"{strict.folder}/stopped.sock"
    strict.policy = {"required": True, "socket": path}
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(path)
        stopped.listen(8)
        await strict.stop_agent()
        await strict.start_agent()
        assert "policyd does not answer" in failure(await status(strict), 50)


async def test_a_policyd_that_serves_is_enough_for_the_strict_one(strict: Node) -> None:
    strict.policy = {"required": True, "socket": f"{strict.folder}/policyd.sock"}
    policyd = FakePolicyd()
    await policyd.listen(f"unix:{strict.folder}/policyd.sock")
    await strict.stop_agent()
    await strict.start_agent()
    for _ in range(100):  # it asks for less than a second, and the machine may be busy
        if (ran := await status(strict)).status == 0:
            break
    assert ran.status == 0
    await policyd.stop()


async def test_a_node_that_ipamd_does_not_know_fails_both_ways_with_the_way_out(node: Node) -> None:
    node.ipamd.known = False
    await node.stop_agent()
    await node.start_agent()
    assert "romana node add" in failure(await status(node), 50)


async def test_a_wrong_configuration_is_told(node: Node) -> None:
    assert "mtu" in failure(await status(node, mtu=5), 7)


async def test_older_versions_have_no_status(node: Node) -> None:
    failure(await status(node, cniVersion="1.0.0"), 1)
