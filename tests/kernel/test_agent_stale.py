"""After a reboot, and when a runtime forgets its DEL: addresses go back, and only of what is gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.errors import Unavailable
from tests.fakes.cni_node import Node, a_node, namespace, pings, until

pytestmark = pytest.mark.kernel

GRACE_S = 0.3
WAIT_S = 60.0


@pytest.fixture(params=["ipamd lists", "records alone"])
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        await made.stop_agent()
        await made.ipamd.stop()
        made.ipamd.batches = request.param == "ipamd lists"
        made.settings["stale_after_s"] = GRACE_S
        await made.start_ipamd()
        await made.start_agent()
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def rebooted(node: Node) -> None:
    """What a reboot leaves: state on disk and at ipamd, of another boot; no interface."""
    await node.kill_agent()
    node.ipamd.boots = dict.fromkeys(node.ipamd.held, "an-earlier-boot")
    for key, document in node.records.items():
        node.note("finish", key, {**document, "boot_id": "an-earlier-boot"})


async def test_reboot_gives_back_what_was_attached(node: Node) -> None:
    """S7."""
    with namespace("pod") as one, namespace("pod") as two:
        for pod in (one, two):
            assert (await node.cni("ADD", pod)).status == 0
        await rebooted(node)
    await until(lambda: not node.interfaces())
    node.settings["stale_after_s"] = 3000.0  # one look is enough
    await node.start_agent()
    await node.cleaned()


async def test_reboot_with_ipamd_away_gives_back_later(node: Node) -> None:
    with namespace("pod") as pod:
        await node.cni("ADD", pod)
        await rebooted(node)
    await until(lambda: not node.interfaces())
    await node.ipamd.stop()
    await node.start_agent()
    await asyncio.sleep(0.5)
    assert node.ipamd.held
    await node.start_ipamd()
    await node.cleaned()


async def test_namespace_that_died_without_a_del_gives_its_address_back(node: Node) -> None:
    """I7, W20."""
    with namespace("pod") as pod:
        await node.cni("ADD", pod)
    await node.cleaned()


async def test_living_pods_keep_their_addresses(node: Node, pod: str) -> None:
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    await asyncio.sleep(GRACE_S * 4)
    await node.kill_agent()
    node.ipamd.boots = dict.fromkeys(node.ipamd.held, "an-earlier-boot")  # as a restored store could tell: it has an interface
    await node.start_agent()
    await asyncio.sleep(GRACE_S * 4)
    assert list(node.ipamd.held.values()) == [address]
    assert await pings(node.name, address)


async def test_an_add_that_takes_its_time_is_left_alone(node: Node, pod: str) -> None:
    """S5."""
    node.ipamd.delay_s["Allocate"] = GRACE_S * 5
    ran = await node.cni("ADD", pod)
    assert ran.status == 0
    assert len(node.ipamd.held) == 1
    assert "Release" not in {call for call, _ in node.ipamd.calls}


async def test_release_that_fails_is_tried_again(node: Node) -> None:
    node.ipamd.failures["Release"] = [Unavailable("etcd is away")] * 40
    with namespace("pod") as pod:
        await node.cni("ADD", pod)
    await until(lambda: bool(node.pending), WAIT_S)
    node.ipamd.failures.clear()
    await node.cleaned()
