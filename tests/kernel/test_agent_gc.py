"""GC: what the runtime no longer lists goes, and nothing else. CNI spec 1.1, section 4 "GC"."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.agent_gc import NEW_S
from romana.errors import Unavailable
from tests.fakes.cni_node import Node, Ran, a_node, namespace, until

pytestmark = pytest.mark.kernel

VALID = "cni.dev/valid-attachments"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pods() -> Iterator[list[str]]:
    """Three namespaces."""
    with namespace("pod") as one, namespace("pod") as two, namespace("pod") as three:
        yield [one, two, three]


async def gc(node: Node, *valid: tuple[str, str], **conf: Any) -> Ran:
    """A GC that lists these attachments."""
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return await node.cni("GC", "", cid="", netns="", ifname="", conf={"cniVersion": "1.1.0", VALID: listed} | conf)


async def old(node: Node, pods: list[str]) -> None:
    """An attachment for each pod, none of them new: an agent takes what an earlier process finished for old."""
    for pod in pods:
        assert (await node.cni("ADD", pod)).status == 0
    await restart(node)


async def restart(node: Node) -> None:
    """A new agent, which has forgotten when ADDs finished."""
    await node.stop_agent()
    await node.start_agent()


def is_asked_for(node: Node, method: str, before: int) -> bool:
    """True when ipamd was asked for it since it had this many calls."""
    return method in {name for name, _ in node.ipamd.calls[before:]}


async def test_what_is_not_listed_goes_and_what_is_stays(node: Node, pods: list[str]) -> None:
    await old(node, pods)
    ran = await gc(node, (pods[0], "eth0"))
    assert (ran.status, ran.stdout) == (0, b"")
    assert [record.container_id for record in node.records] == [pods[0]]
    assert len(node.interfaces()) == 1
    await until(lambda: len(node.ipamd.held) == 1, 60)


@pytest.mark.parametrize("listed", [[], None])
async def test_an_empty_list_or_null_means_that_everything_is_stale(node: Node, pods: list[str], listed: Any) -> None:
    await old(node, pods)
    assert (await gc(node, **{VALID: listed})).status == 0
    await node.cleaned()  # what a GC deletes beside a new agent's first re-assertion is released once more


async def test_without_the_key_nothing_is_done(node: Node, pods: list[str]) -> None:
    """cnitool, and libcni without arguments (requirement 49)."""
    await old(node, pods[:1])
    ran = await node.cni("GC", "", cid="", netns="", ifname="", conf={"cniVersion": "1.1.0"})
    assert (ran.status, ran.stdout, len(node.interfaces())) == (0, b"", 1)
    assert "nothing is done" in node.log.read_text()


async def test_another_network_of_the_same_containers_is_left_alone(node: Node, pods: list[str]) -> None:
    await old(node, pods[:1])
    assert (await gc(node, name="other")).status == 0
    assert len(node.interfaces()) == 1


async def test_one_interface_of_a_container_may_go_and_the_other_stay(node: Node, pods: list[str]) -> None:
    await old(node, pods[:1])
    assert (await node.cni("ADD", pods[0], ifname="net1")).status == 0
    await restart(node)
    assert (await gc(node, (pods[0], "eth0"))).status == 0
    assert [record.ifname for record in node.records] == ["eth0"]


async def test_an_add_that_runs_or_has_just_finished_is_left_alone(node: Node, pods: list[str]) -> None:
    """S5."""
    node.ipamd.delay_s["Allocate"] = 0.5
    for _ in range(20):  # until the machine is fast enough for an attachment to be new still
        began, before = time.monotonic(), len(node.ipamd.calls)
        adding = asyncio.create_task(node.cni("ADD", pods[0]))
        await until(functools.partial(is_asked_for, node, "Allocate", before), 60)
        assert (await gc(node)).status == 0
        assert (await adding).status == 0
        assert (await gc(node)).status == 0
        if time.monotonic() - began < NEW_S:
            break
        assert (await node.cni("DEL", pods[0])).status == 0
    else:
        pytest.fail(f"two GCs take more than {NEW_S:g} s here")
    assert len(node.interfaces()) == 1
    await asyncio.sleep(NEW_S)
    assert (await gc(node)).status == 0
    await node.cleaned()  # what a GC deletes beside a new agent's first re-assertion is released once more


async def test_errors_are_told_at_the_end_and_the_rest_is_done(node: Node, pods: list[str]) -> None:
    """An ipamd that is away is no error: the release is durable, and done later."""
    await old(node, pods)
    node.ipamd.failures["Release"] = [Unavailable("for a moment")] * 2
    assert (await gc(node)).status == 0
    assert node.interfaces() == []


async def test_what_only_ipamd_knows_goes_too(node: Node, pods: list[str]) -> None:
    """An agent that lost its folder has no records; the store still has the addresses."""
    node.ipamd.batches = True
    node.ipamd.held["node-1", "romana", "lost", "eth0"] = node.ipamd.free.pop()
    assert (await gc(node)).status == 0
    await node.cleaned()


@pytest.mark.parametrize("listed", [5, 0, {}, "", False, [5], [{"containerID": "c"}], [{"containerID": "", "ifname": "eth0"}]])
async def test_a_list_that_cannot_be_read_deletes_nothing(node: Node, pods: list[str], listed: Any) -> None:
    await old(node, pods[:1])
    ran = await gc(node, **{VALID: listed})
    assert (ran.status, ran.json["code"], VALID in ran.json["msg"]) == (1, 7, True)
    assert len(node.interfaces()) == 1


async def test_older_versions_have_no_gc(node: Node) -> None:
    ran = await gc(node, cniVersion="1.0.0")
    assert (ran.status, ran.json["code"], ran.json["cniVersion"]) == (1, 1, "1.0.0")


async def test_gc_works_with_a_configuration_that_went_wrong_since(node: Node, pods: list[str]) -> None:
    await old(node, pods[:1])
    assert (await gc(node, mtu="wrong")).status == 0
    await node.cleaned()  # what a GC deletes beside a new agent's first re-assertion is released once more


async def test_gc_is_one_line_of_the_log(node: Node, pods: list[str]) -> None:
    assert (await gc(node)).status == 0
    lines = [json.loads(line) for line in node.log.read_text().splitlines() if '"GC"' in line]
    assert [(line["command"], line["deleted"]) for line in lines] == [("GC", 0)]
