"""No packet leaves a pod, or reaches it, before its policy is in force, whatever runs inside; and ADD without policyd."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from romana.names import host_interface
from romana.netlink import netns
from tests.fakes.cni_node import Node, a_node, ip, namespace, netns_path, opened, pings, ran, until
from tests.fakes.policyd import FakePolicyd

pytestmark = pytest.mark.kernel

ETH_P_ALL, PACKET_OUTGOING = 3, 4  # linux/if_ether.h, linux/if_packet.h
FRAME = bytes.fromhex("eeeeeeeeeeee0200000000050800") + bytes(46)
POD_ADDRESSES = ("10.40.0.1", "fd00::1")
WAIT_S = 60.0


class Guarded:
    """A node whose ADDs wait for policy, and another node beyond its uplink."""

    def __init__(self, node: Node, policyd: FakePolicyd, beyond: str) -> None:
        self.node = node
        self.policyd = policyd
        self.beyond = beyond


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    policyd = FakePolicyd()
    await policyd.listen(f"unix:{tmp_path}/policyd.sock")
    with namespace("beyond") as beyond:
        async with a_node(tmp_path) as node:
            ip("-n", node.name, "link", "set", "fabric0", "netns", beyond)
            for address in ("198.18.0.3/24", "fd00:f::3/64"):
                ip("-n", beyond, "address", "add", address, "dev", "fabric0", "nodad")
            ip("-n", node.name, "address", "add", "fd00:f::2/64", "dev", "up0", "nodad")
            ip("-n", beyond, "link", "set", "fabric0", "up")
            ip("-n", beyond, "route", "add", "10.40.0.0/16", "via", "198.18.0.2")
            ip("-n", beyond, "-6", "route", "add", "fd00::/64", "via", "fd00:f::2")
            node.ipamd.free = [",".join(POD_ADDRESSES)]
            await node.stop_agent()
            node.policy = {"required": True, "wait_s": 30.0, "socket": f"{tmp_path}/policyd.sock"}
            await node.start_agent()
            yield Guarded(node, policyd, beyond)
    await policyd.stop()


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


class Frames:
    """Frames that come in by an interface of a namespace, and a way to send some; the interface may come later."""

    def __init__(self, name: str, interface: Callable[[str], bool]) -> None:
        with opened(name) as fd:
            self._all = netns.call_in(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        self._all.setblocking(False)
        self._interface = interface

    def count(self) -> int:
        """Those since the last call."""
        found = 0
        with suppress(BlockingIOError):
            while True:
                _, (interface, _, kind, *_) = self._all.recvfrom(2048)
                found += self._interface(interface) and kind != PACKET_OUTGOING
        return found

    def close(self) -> None:
        self._all.close()


def hammer(name: str, sends: Callable[[], None]) -> Callable[[], None]:
    """Try to send, from inside a namespace; whatever refuses it."""

    def once() -> None:
        with suppress(OSError), opened(name) as fd:
            netns.call_in(fd, sends)

    return once


def from_the_pod() -> None:
    """As root in the pod: datagrams out, and raw frames by the interface, which is set up if it is not."""
    for family, target in ((socket.AF_INET, "198.18.0.3"), (socket.AF_INET6, "fd00:f::3")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (target, 9))
    with suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(FRAME)


def to_the_pod() -> None:
    """From another node, or this one."""
    for family, target in ((socket.AF_INET, POD_ADDRESSES[0]), (socket.AF_INET6, POD_ADDRESSES[1])):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (target, 9))


async def test_nothing_passes_before_policy_is_in_force_and_everything_after(guarded: Guarded, pod: str) -> None:
    node = guarded.node
    hammers = [hammer(pod, from_the_pod), hammer(guarded.beyond, to_the_pod), hammer(node.name, to_the_pod)]
    with ExitStack() as stack:
        left, reached = Frames(node.name, lambda name: name.startswith("rom")), Frames(pod, lambda name: name == "eth0")
        for frames in (left, reached):
            stack.callback(frames.close)
        adding = await node.spawn("ADD", netns_path(pod), cid=pod)
        stop = asyncio.Event()

        async def hammering() -> None:
            while not stop.is_set():
                for once in hammers:
                    await asyncio.to_thread(once)

        hard = asyncio.create_task(hammering())
        await until(lambda: bool(guarded.policyd.asked), WAIT_S)
        await until(lambda: "fd00::1" in ip("-n", pod, "address"), WAIT_S)
        ip("-n", pod, "link", "set", "eth0", "up")
        await asyncio.sleep(1)
        assert (left.count(), reached.count()) == (0, 0)
        assert adding.returncode is None
        guarded.policyd.in_force.set()
        assert (await ran(adding)).status == 0
        await asyncio.sleep(0.5)
        stop.set()
        await hard
        assert left.count() > 0
        assert reached.count() > 0


async def test_await_names_the_attachment_and_its_revision(guarded: Guarded, pod: str) -> None:
    guarded.policyd.in_force.set()
    assert (await guarded.node.cni("ADD", pod)).status == 0
    (asked,) = guarded.policyd.asked
    assert (asked.attachment.container_id, asked.revision) == (pod, 7)


async def restarted(guarded: Guarded, **settings: float | bool) -> None:
    await guarded.node.stop_agent()
    guarded.node.policy |= settings
    await guarded.node.start_agent()


async def test_add_whose_policy_does_not_come_fails_in_time_and_leaves_nothing(guarded: Guarded, pod: str) -> None:
    await restarted(guarded, wait_s=0.5)
    failed = await guarded.node.cni("ADD", pod)
    assert (failed.status, failed.json["code"]) == (1, 11)
    assert "policy is not in force" in failed.json["msg"]
    assert guarded.node.is_clean()
    assert "eth0" not in ip("-n", pod, "link")
    guarded.policyd.in_force.set()
    assert (await guarded.node.cni("ADD", pod)).status == 0


@pytest.mark.parametrize("gone", [False, True])
async def test_add_goes_on_without_policy_where_that_is_configured(guarded: Guarded, pod: str, gone: bool) -> None:
    if gone:
        await guarded.policyd.stop()
    await restarted(guarded, wait_s=0.5, proceed=True)
    assert (await guarded.node.cni("ADD", pod)).status == 0
    assert await pings(guarded.node.name, POD_ADDRESSES[0])
    assert "goes on without policy" in guarded.node.log.read_text()


async def test_del_of_an_add_that_waits_for_policy_ends_it(guarded: Guarded, pod: str) -> None:
    adding = await guarded.node.spawn("ADD", netns_path(pod), cid=pod)
    await until(lambda: bool(guarded.policyd.asked), WAIT_S)
    assert (await guarded.node.cni("DEL", pod)).status == 0
    assert (await ran(adding)).json["code"] == 11
    assert "a DEL of the same attachment came" in guarded.node.log.read_text()
    assert not guarded.policyd.in_force.is_set()
    await guarded.node.cleaned()


async def test_host_end_is_down_while_policy_is_awaited(guarded: Guarded, pod: str) -> None:
    adding = await guarded.node.spawn("ADD", netns_path(pod), cid=pod)
    await until(lambda: bool(guarded.policyd.asked), WAIT_S)
    name = host_interface(guarded.node.ipamd.node, "romana", pod, "eth0")
    (link,) = json.loads(ip("-n", guarded.node.name, "-j", "link", "show", name))
    assert "UP" not in link["flags"]
    guarded.policyd.in_force.set()
    assert (await ran(adding)).status == 0
