"""What goes wrong around an ADD or a DEL, and that nothing is left of it."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cni.install import Shim, install
from romana.errors import Exhausted, InvalidInput, Refused, Unavailable
from romana.names import host_interface
from tests.fakes.cni_node import Node, a_node, ip, namespace, netns_path, pings, ran, until

pytestmark = pytest.mark.kernel

POD_ARGS = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


def own_interface(node: Node, pod: str) -> str:
    return host_interface(node.ipamd.node, "romana", pod, "eth0")


@pytest.mark.parametrize(
    ("error", "code"),
    [(Exhausted("no address left"), 100), (Refused("no group takes this node"), 101), (InvalidInput("bad pod"), 7)],
)
async def test_refusals_of_ipamd_reach_the_runtime(node: Node, pod: str, error: Exception, code: int) -> None:
    node.ipamd.failures["Allocate"] = [error]  # type: ignore[list-item]
    failed = await node.cni("ADD", pod)
    assert (failed.status, failed.json["code"]) == (1, code)
    assert str(error) in failed.json["msg"]
    assert node.is_clean()


async def test_address_is_given_back_when_the_last_step_fails(node: Node, pod: str) -> None:
    ip("-n", node.name, "route", "add", "10.40.0.1/32", "dev", "up0")  # in the way of the host route
    failed = await node.cni("ADD", pod)
    assert (failed.status, failed.json["code"]) == (1, 103)
    assert "add route 10.40.0.1/32" in failed.json["msg"]
    assert node.is_clean()
    assert "eth0" not in ip("-n", pod, "link")


async def test_foreign_interface_of_our_name_is_never_touched(node: Node, pod: str) -> None:
    name = own_interface(node, pod)
    ip("-n", node.name, "link", "add", name, "type", "veth", "peer", "name", "foreign1")
    failed = await node.cni("ADD", pod)
    assert failed.json["code"] == 103
    assert name in failed.json["msg"]
    assert not node.ipamd.held
    assert (await node.cni("DEL", pod)).status == 0
    assert node.interfaces() == [name]


@pytest.mark.parametrize("alias", ["", "own"])
async def test_stale_interface_of_a_dead_add_is_replaced(node: Node, pod: str, alias: str) -> None:
    name = own_interface(node, pod)
    pair = ("address", "ee:ee:ee:ee:ee:ee", "type", "veth", "peer", "name", "stale1")
    ip("-n", node.name, "link", "add", name, *pair)
    if alias:
        ip("-n", node.name, "link", "set", name, "alias", f"romana:romana/{pod}/eth0")
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    assert await pings(node.name, address)
    assert "stale1" not in ip("-n", node.name, "link")


async def test_add_after_a_crash_between_allocation_and_plumbing_reuses_the_address(node: Node, pod: str) -> None:
    key = (node.ipamd.node, "romana", pod, "eth0")
    node.ipamd.held[key] = "10.40.0.9"
    assert (await node.cni("ADD", pod)).json["ips"][0]["address"] == "10.40.0.9/32"


async def test_add_finishes_what_a_dead_agent_began(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    ip("-n", node.name, "link", "set", own_interface(node, pod), "alias", "")  # as if it had died before the last step
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    assert await pings(node.name, address)


async def patient(node: Node) -> None:
    """Let the agent wait for Pod objects longer than this machine can stand still."""
    await node.stop_agent()
    node.settings["pod_wait_s"] = 60.0
    await node.start_agent()


async def test_pod_object_is_waited_for(node: Node, pod: str) -> None:
    await patient(node)
    adding = await node.spawn("ADD", netns_path(pod), cid=pod, CNI_ARGS=POD_ARGS)
    await until(lambda: len(node.ipamd.requests) > 1)
    node.ipamd.pods.add(("shop", "web-0"))
    assert (await ran(adding)).status == 0


async def test_pod_object_that_never_comes_is_named(node: Node, pod: str) -> None:
    failed = await node.cni("ADD", pod, CNI_ARGS=POD_ARGS)
    assert failed.json["code"] == 11
    assert "shop/web-0" in failed.json["msg"]
    assert node.is_clean()


async def test_unknown_node_is_named(node: Node, pod: str) -> None:
    node.ipamd.known = False
    failed = await node.cni("ADD", pod)
    assert failed.json["code"] == 11
    assert "node node-1 is not known" in failed.json["msg"]
    node.ipamd.known = True
    assert (await node.cni("ADD", pod)).status == 0


async def test_add_without_ipamd_says_try_again(node: Node, pod: str) -> None:
    await node.ipamd.stop()
    failed = await node.cni("ADD", pod)
    assert failed.json["code"] == 11
    assert not node.interfaces()
    await node.start_ipamd()
    assert (await node.cni("ADD", pod)).status == 0
    await node.cni("DEL", pod)
    await node.cleaned()


async def test_del_without_ipamd_succeeds_and_the_release_survives_an_agent_that_dies(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    await node.ipamd.stop()
    assert (await node.cni("DEL", pod)).status == 0
    assert not node.interfaces()
    await until(lambda: len(node.pending) == 1, 60)
    await node.kill_agent()
    await node.start_agent()
    await node.start_ipamd()
    await until(lambda: not node.ipamd.held and not node.pending)


async def test_pending_release_comes_before_the_next_add(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    await node.ipamd.stop()
    await node.cni("DEL", pod)
    assert (await node.cni("ADD", pod)).json["code"] == 11
    await node.start_ipamd()
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    await asyncio.sleep(2.5)  # longer than the agent takes to replay
    assert await pings(node.name, address)
    assert list(node.ipamd.held.values()) == [address]


async def test_shim_killed_in_the_middle_leaves_nothing(node: Node, pod: str) -> None:
    node.ipamd.delay_s["Allocate"] = 0.5
    adding = await node.spawn("ADD", netns_path(pod), cid=pod)
    await until(lambda: bool(node.ipamd.calls) and node.ipamd.calls[-1][0] == "Allocate")
    adding.kill()
    await adding.wait()
    await until(lambda: ("Release", (node.ipamd.node, "romana", pod, "eth0")) in node.ipamd.calls)
    await node.cleaned()
    assert (await node.cni("DEL", pod)).status == 0
    await node.cleaned()


async def test_del_overtakes_a_running_add(node: Node, pod: str) -> None:
    await patient(node)
    adding = await node.spawn("ADD", netns_path(pod), cid=pod, CNI_ARGS=POD_ARGS)
    await until(lambda: bool(node.ipamd.requests))
    assert (await node.cni("DEL", pod)).status == 0
    failed = await ran(adding)
    assert failed.json["code"] == 11
    assert "DEL" in failed.json["msg"]
    await node.cleaned()


async def test_del_during_the_allocation_leaves_nothing(node: Node, pod: str) -> None:
    node.ipamd.delay_s["Allocate"] = 0.5
    for _ in range(20):  # until the DEL is there before ipamd has answered
        node.ipamd.calls.clear()
        adding = await node.spawn("ADD", netns_path(pod), cid=pod)
        await until(lambda: "Allocate" in {method for method, _ in node.ipamd.calls})
        assert (await node.cni("DEL", pod)).status == 0
        status = (await ran(adding)).status
        await node.cleaned()
        if status:
            break
    assert status == 1


async def test_add_that_arrives_after_its_del_is_refused(node: Node, pod: str) -> None:
    adding = await node.spawn("ADD", netns_path(pod), cid=pod)
    os.kill(adding.pid, signal.SIGSTOP)
    assert (await node.cni("DEL", pod)).status == 0
    os.kill(adding.pid, signal.SIGCONT)
    late = await ran(adding)
    if late.status:  # else it had reached the agent before it was stopped
        assert late.json["code"] == 11
    await node.cni("DEL", pod)
    await node.cleaned()


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_agent_killed_at_any_moment_leaves_what_del_can_clean(node: Node, pod: str, pause_s: float) -> None:
    node.ipamd.delay_s["Allocate"] = 0.05
    adding = await node.spawn("ADD", netns_path(pod), cid=pod)
    await asyncio.sleep(pause_s)
    await node.kill_agent()
    await node.start_agent()
    await ran(adding)
    assert (await node.cni("DEL", pod)).status == 0
    await node.cleaned()  # a DEL beside the new agent's first re-assertion is released once more, to be sure
    assert "eth0" not in ip("-n", pod, "link")


async def test_pods_do_not_notice_an_agent_that_dies(node: Node, pod: str) -> None:
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    await node.kill_agent()
    assert await pings(node.name, address)
    await node.start_agent()
    assert await pings(node.name, address)


async def test_sigterm_ends_running_adds_and_leaves_nothing(node: Node, pod: str) -> None:
    adding = await node.spawn("ADD", netns_path(pod), cid=pod, CNI_ARGS=POD_ARGS)
    await until(lambda: bool(node.ipamd.requests))
    assert await node.stop_agent() == 0
    assert (await ran(adding)).json["code"] == 11
    assert not (node.folder / "agent.sock").exists()
    assert node.is_clean()


async def test_socket_is_for_root_only(node: Node) -> None:
    assert (node.folder / "agent.sock").stat().st_mode & 0o777 == 0o600


async def test_release_that_fails_once_is_done_later(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    node.ipamd.failures["Release"] = [Unavailable("etcd is away")] * 40
    assert (await node.cni("DEL", pod)).status == 0
    await until(lambda: len(node.pending) == 1, 60)
    node.ipamd.failures.clear()
    await until(lambda: not node.ipamd.held and not node.pending)


async def test_node_that_was_made_anew_is_asked_for_again(node: Node, pod: str) -> None:
    await node.cni("ADD", pod, ifname="net1")
    node.ipamd.failures["Allocate"] = [Refused("another incarnation owns the name")]
    assert (await node.cni("ADD", pod)).status == 0
    assert [method for method, _ in node.ipamd.calls].count("GetNode") == 2


@pytest.mark.long
async def test_storm_of_adds_dels_and_kills_leaves_no_difference_between_kernel_and_ipamd(node: Node) -> None:
    dice = random.Random(7)  # noqa: S311 - the same storm every time
    node.ipamd.delay_s["Allocate"] = 0.01

    async def storm(pod: str) -> None:
        for _ in range(15):
            shim = await node.spawn(dice.choice(["ADD", "ADD", "DEL"]), netns_path(pod), cid=pod)
            await asyncio.sleep(dice.random() * 0.06)
            if shim.returncode is None and dice.random() < 0.5:
                shim.kill()
            if dice.random() < 0.5:
                await node.cni("DEL", pod)
            await shim.wait()

    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(namespace("pod")) for _ in range(6)]
        storms = [asyncio.create_task(storm(pod)) for pod in pods]
        for _ in range(3):
            await asyncio.sleep(0.4)
            await node.kill_agent()
            await node.start_agent()
        await asyncio.gather(*storms)
        assert {(await node.cni("DEL", pod)).status for pod in pods} == {0}
        await node.cleaned()
        assert [ip("-n", pod, "link").count("eth0") for pod in pods] == [0] * 6
        assert sorted(node.ipamd.free) == sorted(str(address) for address in node.ipamd.network.hosts())


@pytest.mark.parametrize("kind", [Shim.PYTHON, Shim.C])
@pytest.mark.parametrize("count", [15, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
async def test_shim_processes_killed_at_any_moment_leave_what_one_del_cleans(
    node: Node, pod: str, kind: Shim, count: int
) -> None:
    """Requirement 6: kill -9 of the process that the runtime executed, not of its connection alone."""
    install(node.folder / "bin", node.folder / "conf", f"{node.folder}/agent.sock", shim=kind)
    dice = random.Random(13)  # noqa: S311 - the same moments every time
    node.ipamd.delay_s["Allocate"] = 0.004
    for number in range(count):
        shim = await node.spawn("ADD", netns_path(pod), cid=f"c{number}")
        await asyncio.sleep(dice.random() * (0.012 if kind is Shim.C else 0.03))
        with contextlib.suppress(ProcessLookupError):
            shim.kill()
        await shim.wait()
        assert (await node.cni("DEL", pod, cid=f"c{number}")).status == 0
        assert "eth0" not in await asyncio.to_thread(ip, "-n", pod, "link")
    await node.cleaned()
