"""The agent tells ipamd what lives on its node: at its start, and when the store was restored (docs/adr/0007)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.errors import Unavailable
from romana.names import host_interface
from romana.v1 import ipam_pb2
from tests.fakes.cni_node import Node, a_node, namespace, netns_path, ran, until

pytestmark = pytest.mark.kernel

WAIT_S = 60


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        made.ipamd.pods.add(("default", "web"))
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def added(node: Node, pod: str) -> str:
    """An ADD for the pod default/web; its host interface."""
    assert (await node.cni("ADD", pod, CNI_ARGS=WEB)).status == 0
    return host_interface(node.ipamd.node, "romana", pod, "eth0")


WEB = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=uid-web"


async def told(node: Node, count: int) -> ipam_pb2.ReassertRequest:
    """What the agent has told last, once it has done so this often."""
    await until(lambda: len(node.ipamd.reasserted) >= count, WAIT_S)
    return node.ipamd.reasserted[-1]


async def test_an_agent_tells_at_its_start_what_lives_and_how_it_was_granted(node: Node, pod: str) -> None:
    interface = await added(node, pod)
    await node.kill_agent()
    before = len(node.ipamd.reasserted)
    await node.start_agent()
    request = await told(node, before + 1)
    (attachment,) = request.attachments
    assert (attachment.key.node, attachment.key.container_id, attachment.key.ifname) == (node.ipamd.node, pod, "eth0")
    assert (attachment.pod.namespace, attachment.pod.name, attachment.pod.uid) == ("default", "web", "uid-web")
    assert [(a.network, a.ip, a.block) for a in attachment.addresses] == [
        ("pods", next(iter(node.ipamd.held.values())), "10.40.0.0/28")
    ]
    assert list(request.interfaces) == [attachment.host_interface] == [interface]
    assert (request.seen_history, request.seen_revision) == ("history-1", 7)


async def test_what_was_deleted_is_not_told(node: Node, pod: str) -> None:
    await added(node, pod)
    assert (await node.cni("DEL", pod)).status == 0
    before = len(node.ipamd.reasserted)
    await node.kill_agent()
    await node.start_agent()
    request = await told(node, before + 1)
    assert (list(request.attachments), list(request.interfaces)) == ([], [])


async def test_a_restored_store_is_told_without_a_restart(node: Node, pod: str) -> None:
    await added(node, pod)
    before = len(node.ipamd.reasserted)
    node.ipamd.history, node.ipamd.revision = "history-2", 3
    request = await told(node, before + 1)
    assert len(request.attachments) == 1
    assert request.seen_history == "history-1"
    await until(lambda: '"history-2"' in (node.folder / "state" / "seen.json").read_text(), WAIT_S)


async def test_what_is_in_the_way_is_told_again_until_it_is_not(node: Node, pod: str) -> None:
    await added(node, pod)
    blocking = ipam_pb2.ReassertConflict(reason="block 10.40.0.0/28 is node n2's", blocking=True)
    node.ipamd.conflicts = [blocking]
    node.ipamd.history = "history-2"
    before = len(node.ipamd.reasserted)
    assert (await told(node, before + 2)).seen_history == "history-1"
    assert "10.40.0.0/28 is node n2's" in node.log.read_text()
    node.ipamd.conflicts = []
    await until(lambda: '"history-2"' in (node.folder / "state" / "seen.json").read_text(), WAIT_S)


async def test_no_add_is_served_before_ipamd_was_told(node: Node, pod: str) -> None:
    await node.kill_agent()
    node.ipamd.failures["Reassert"] = [Unavailable("the store is away")] * 1000
    await node.start_agent()
    answer = await node.cni("ADD", pod)
    assert (answer.status, answer.json["code"]) == (1, 11)
    assert "was not told yet what lives on this node" in answer.json["msg"]
    assert not [method for method, _ in node.ipamd.calls if method == "Allocate"]
    node.ipamd.failures.clear()
    await told(node, 1)
    assert (await node.cni("ADD", pod)).status == 0


async def test_an_attachment_of_which_the_record_is_lost_is_told_without_addresses(node: Node, pod: str) -> None:
    interface = await added(node, pod)
    await node.kill_agent()
    journal = node.folder / "state" / "journal"
    journal.write_text("".join(line for line in journal.read_text().splitlines(keepends=True) if '"grant"' not in line))
    before = len(node.ipamd.reasserted)
    await node.start_agent()
    request = await told(node, before + 1)
    assert [(entry.key.container_id, list(entry.addresses)) for entry in request.attachments] == [(pod, [])]
    assert list(request.interfaces) == [interface]


async def test_what_goes_while_it_is_told_is_released_once_more(node: Node, pod: str) -> None:
    """Or the store would get it back, with nobody left to release it."""
    await added(node, pod)
    await node.kill_agent()
    node.ipamd.delay_s["Reassert"] = 1.5
    before = len(node.ipamd.reasserted)
    await node.start_agent()
    deleting = await node.spawn("DEL", netns_path(pod), cid=pod)
    assert (await ran(deleting)).status == 0
    await told(node, before + 1)
    await until(lambda: [method for method, _ in node.ipamd.calls].count("Release") == 2, WAIT_S)
    await until(lambda: not node.pending, WAIT_S)
