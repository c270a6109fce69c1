"""An agent that dies in the middle of an ADD leaks nothing, even if no DEL ever comes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.errors import Exhausted
from romana.names import host_interface
from tests.fakes.cni_node import Node, a_node, ip, namespace, netns_path, pings, ran, until

pytestmark = pytest.mark.kernel


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def killed_after_allocate(node: Node, pod: str) -> None:
    """An ADD whose agent dies when ipamd has just committed."""
    node.ipamd.delay_s["Allocate"] = 0.3
    adding = await node.spawn("ADD", netns_path(pod), cid=pod)
    await until(lambda: bool(node.ipamd.calls) and node.ipamd.calls[-1][0] == "Allocate")
    assert node.agent
    node.agent.send_signal(signal.SIGSTOP)
    await until(lambda: bool(node.ipamd.held))
    await node.kill_agent()
    assert (await ran(adding)).status == 1
    node.ipamd.delay_s.clear()


async def test_address_goes_back_without_a_del(node: Node, pod: str) -> None:
    await killed_after_allocate(node, pod)
    assert node.ipamd.held
    await node.start_agent()
    await node.cleaned()


async def test_address_goes_back_when_ipamd_returns(node: Node, pod: str) -> None:
    await killed_after_allocate(node, pod)
    await node.ipamd.stop()
    await node.start_agent()
    await until(lambda: len(node.pending) == 1 and not node.intents)
    await node.start_ipamd()
    await node.cleaned()


async def test_unfinished_interface_goes_too(node: Node, pod: str) -> None:
    await killed_after_allocate(node, pod)
    assert node.interfaces() == [host_interface(node.ipamd.node, "romana", pod, "eth0")]
    await node.start_agent()
    await node.cleaned()
    assert "eth0" not in ip("-n", pod, "link")


async def test_new_add_of_the_same_attachment_is_not_raced(node: Node, pod: str) -> None:
    for _ in range(4):
        await killed_after_allocate(node, pod)
        await node.start_agent()
        address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
        await asyncio.sleep(2.2)  # longer than a round of the recovery takes
        assert await pings(node.name, address)
        assert list(node.ipamd.held.values()) == [address]
        assert not node.intents
        await node.cni("DEL", pod)
        await node.cleaned()


async def test_refused_repetition_does_not_hide_the_first_ones_address(node: Node, pod: str) -> None:
    await killed_after_allocate(node, pod)
    node.ipamd.failures["Allocate"] = [Exhausted("none left")] * 3
    await node.start_agent()
    await node.cni("ADD", pod)
    node.ipamd.failures.clear()
    await until(lambda: not node.intents)
    await until(lambda: not node.pending)
    assert not node.ipamd.held or (await node.cni("ADD", pod)).status == 1


async def test_finished_attachment_is_never_undone(node: Node, pod: str) -> None:
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    await node.kill_agent()
    (key,) = node.records
    node.note("intend", key)  # as if it had died in the middle of a second ADD
    assert node.intents
    await node.start_agent()
    await until(lambda: not node.intents)
    assert await pings(node.name, address)
    assert list(node.ipamd.held.values()) == [address]


async def test_finished_but_unanswered_add_is_undone_once_its_interface_is_gone(node: Node) -> None:
    with namespace("pod") as pod:
        await node.cni("ADD", pod)
        await node.kill_agent()
        (key,) = node.records
        node.note("forget", key)
        node.note("intend", key)  # as if it had died before the record
        await node.start_agent()
        await asyncio.sleep(0.5)
        assert len(node.interfaces()) == len(node.ipamd.held) == 1
    await node.cleaned()


async def test_finished_add_leaves_no_intent_and_a_failed_one_neither(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    assert not node.intents
    node.ipamd.failures["Allocate"] = [Exhausted("none left")]
    assert (await node.cni("ADD", pod, ifname="net1")).status == 1
    assert not node.intents
