"""The agent says what is on its node when ipamd asks (docs/adr/0012): what is there, and what it works on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.names import host_interface
from romana.v1 import check_pb2
from tests.fakes.cni_node import Node, a_node, namespace, until

pytestmark = pytest.mark.kernel

WAIT_S = 60
WEB = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=uid-web"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        made.ipamd.pods.add(("default", "web"))
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def asked(node: Node, question: int) -> check_pb2.Presence:
    """The answer to this question."""
    node.ipamd.question = question
    await until(lambda: any(each.question == question for each in node.ipamd.presences), WAIT_S)
    return next(each for each in node.ipamd.presences if each.question == question)


async def test_agent_names_the_interfaces_that_are_there_with_the_number_that_it_was_asked(node: Node, pod: str) -> None:
    empty = await asked(node, 41)
    assert (empty.node, list(empty.interfaces)) == (node.ipamd.node, [])
    assert empty.boot_id == boot_id()
    assert (await node.cni("ADD", pod, CNI_ARGS=WEB)).status == 0
    interface = host_interface(node.ipamd.node, "romana", pod, "eth0")
    assert list((await asked(node, 42)).interfaces) == [interface]
    assert (await node.cni("DEL", pod)).status == 0
    assert list((await asked(node, 43)).interfaces) == []


async def test_attachment_that_is_worked_on_counts_as_there_without_its_interface(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod, CNI_ARGS=WEB)).status == 0
    node.ipamd.delay_s["Release"] = 1.0
    deleting = asyncio.create_task(node.cni("DEL", pod))
    await until(lambda: any(method == "Release" for method, _ in node.ipamd.calls), WAIT_S)
    told = await asked(node, 44)
    was_over = deleting.done()  # then it was too late to see it
    interface = host_interface(node.ipamd.node, "romana", pod, "eth0")
    assert was_over or list(told.interfaces) == [interface]
    assert (await deleting).status == 0
    assert list((await asked(node, 45)).interfaces) == []
