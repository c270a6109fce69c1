"""DEL is answered when nothing is left on the node; ipamd hears of it beside that, and nothing gets lost (docs/adr/0016)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cni.request import AttachmentId
from romana.errors import Unavailable
from tests.fakes.cni_node import Node, a_node, ip, namespace, netns_path, pings, ran, until

pytestmark = pytest.mark.kernel

LONG_S = 0.7
"""A Release takes longer than a DEL, and less than the agent waits for it (RELEASE_S)."""
LEFT = "release is left to later"
"""What the log says where a process stood still for longer than that."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


@pytest.fixture
def other() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


def key(pod: str) -> AttachmentId:
    return AttachmentId("romana", pod, "eth0")


def methods(node: Node) -> list[str]:
    """What ipamd was asked for, in order."""
    return [method for method, _ in node.ipamd.calls if method in {"Allocate", "Release"}]


async def deleted_while_ipamd_is_slow(node: Node, pod: str) -> None:
    """An attachment that is gone, and its release on its way."""
    assert (await node.cni("ADD", pod)).status == 0
    node.ipamd.delay_s["Release"] = LONG_S
    assert (await node.cni("DEL", pod)).status == 0


async def test_del_is_answered_when_the_interface_is_gone_and_the_release_is_noted(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod)).status == 0
    answered = asyncio.Event()
    node.ipamd.gates["Release"] = answered
    assert (await node.cni("DEL", pod)).status == 0
    assert not node.interfaces()
    assert not node.routes()
    assert not node.records
    assert node.owed == [key(pod)]
    assert node.ipamd.held
    answered.set()
    await node.cleaned()


async def test_new_add_of_the_attachment_waits_for_its_release(node: Node, pod: str) -> None:
    await deleted_while_ipamd_is_slow(node, pod)
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    assert "Release" in methods(node)[:-1]
    assert methods(node)[-1] == "Allocate"
    assert list(node.ipamd.held.values()) == [address]
    await asyncio.sleep(2 * LONG_S)  # longer than a late release would take
    assert list(node.ipamd.held.values()) == [address]
    assert await pings(node.name, address)


async def test_last_address_goes_to_the_pod_that_comes_next(node: Node, pod: str, other: str) -> None:
    node.ipamd.free = ["10.40.0.1"]
    for _ in range(20):
        said = node.log.read_text().count(LEFT)
        await deleted_while_ipamd_is_slow(node, pod)
        added = await node.cni("ADD", other)
        if node.log.read_text().count(LEFT) == said:
            break
        await node.cni("DEL", other)
        await node.cleaned()
    assert added.status == 0, added.stdout
    assert list(node.ipamd.held.values()) == ["10.40.0.1"]


async def test_full_is_full_when_no_release_is_under_way(node: Node, pod: str, other: str) -> None:
    node.ipamd.free = ["10.40.0.1"]
    assert (await node.cni("ADD", pod)).status == 0
    assert (await node.cni("ADD", other)).json["code"] == 100
    assert methods(node) == ["Allocate", "Allocate"]


async def test_dels_may_come_again_while_the_release_is_under_way(node: Node, pod: str) -> None:
    await deleted_while_ipamd_is_slow(node, pod)
    for _ in range(2):  # as containerd 1.6 does
        assert (await node.cni("DEL", pod, netns="")).status == 0
    await node.cleaned()


@pytest.mark.parametrize("is_killed", [True, False])
async def test_release_outlives_its_agent(node: Node, pod: str, is_killed: bool) -> None:
    await deleted_while_ipamd_is_slow(node, pod)
    if is_killed:
        await node.kill_agent()
        await node.start_agent()
    else:
        assert await node.stop_agent() == 0
        assert not node.ipamd.held or LEFT in node.log.read_text()  # it was waited for
        await node.start_agent()
    await node.cleaned()


async def test_agent_killed_before_the_interface_was_gone_finishes_the_del(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod)).status == 0
    await node.kill_agent()
    node.note("delete", key(pod))
    await node.start_agent()
    await node.cleaned()
    assert "eth0" not in ip("-n", pod, "link")


async def test_new_add_finishes_the_del_that_an_agent_died_of(node: Node, pod: str, other: str) -> None:
    """The address must not be given out while the interface of before still has it."""
    assert (await node.cni("ADD", pod)).status == 0
    await node.kill_agent()
    node.note("delete", key(pod))
    node.ipamd.failures["Release"] = [Unavailable("not yet")]
    await node.start_agent()
    added = await ran(await node.spawn("ADD", netns_path(other), cid=pod))
    assert added.status == 0, added.stdout
    assert len(node.interfaces()) == len(node.ipamd.held) == 1
    assert "eth0" not in ip("-n", pod, "link")
    assert await pings(node.name, added.json["ips"][0]["address"].split("/")[0])


async def test_ipamd_that_is_away_for_long_hears_of_it_in_the_end(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod)).status == 0
    await node.ipamd.stop()
    assert (await node.cni("DEL", pod)).status == 0
    await until(lambda: len(node.pending) == 1, 60)
    assert node.owed == [key(pod)]
    await node.start_ipamd()
    await node.cleaned()


async def test_release_that_always_fails_keeps_no_other_from_ipamd(
    node: Node, pod: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = node.ipamd.enter

    async def but_for_one(method: str, attachment: tuple[str, str, str, str]) -> None:
        await enter(method, attachment)
        if method == "Release" and attachment[2] == pod:
            raise Unavailable("its record cannot be read")

    for name in (pod, other):
        assert (await node.cni("ADD", name)).status == 0
    await node.kill_agent()
    for name in (pod, other):
        node.note("delete", key(name))
    with monkeypatch.context() as patched:
        patched.setattr(node.ipamd, "enter", but_for_one)
        await node.start_agent()
        await until(lambda: node.owed == [key(pod)], 60)
    await node.cleaned()
