"""Plumbing in real namespaces with a kernel that refuses any one message: nothing is left, whichever it is."""

import contextlib
import errno
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

import pytest

from cni import plumbing
from cni.errors import CniError
from cni.wiring import HostEnd, Wiring
from romana.errors import Unavailable
from romana.netlink import netns
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.wire import Failure, Message, Reply
from tests.fakes.cni_node import UPLINK_MTU, ip, namespace, opened

pytestmark = pytest.mark.kernel

WANTED = Wiring("rom0123456789ab", "eth0", "romana:test", (IPv4Interface("10.40.0.5/32"),), 1400)


@dataclass(frozen=True)
class Place:
    node: str
    pod: str
    node_fd: int
    pod_fd: int

    def plumb(self) -> plumbing.Ends:
        return netns.call_in(self.node_fd, lambda: plumbing.plumb(WANTED, self.pod_fd))

    def interfaces(self) -> set[str]:
        return {link["ifname"] for name in (self.node, self.pod) for link in json.loads(ip("-n", name, "-j", "link"))}

    def routes(self) -> str:
        return ip("-n", self.node, "route") + ip("-n", self.pod, "route")


@pytest.fixture
def place() -> Iterator[Place]:
    with namespace("node") as node, namespace("pod") as pod, opened(node) as node_fd, opened(pod) as pod_fd:
        yield Place(node, pod, node_fd, pod_fd)


def test_both_ends_carry_traffic_when_plumb_returns(place: Place) -> None:
    ends = place.plumb()
    assert ends.host
    assert ends.pod
    assert ends.host.alias == "romana:test"
    for name, interface in ((place.node, "rom0123456789ab"), (place.pod, "eth0")):
        assert json.loads(ip("-n", name, "-j", "link", "show", interface))[0]["operstate"] == "UP"


class Refusing(Connection):
    """A connection that fails instead of sending its n-th batch, or the n-th message of all."""

    left = 0
    refused = ""

    def run(self, *batch: Message) -> list[list[Reply]]:
        answers = []
        for message in batch:
            if message.what.startswith("delete"):
                return super().run(*batch)
            if Refusing.left == 0:
                Refusing.left, Refusing.refused = -1, message.what
                raise Refusing.error(message)
            Refusing.left -= Refusing.left > 0
            answers += super().run(message)
        return answers

    @staticmethod
    def error(message: Message) -> Exception:
        return NetlinkError(message.what, Failure(errno.ENOMEM, "injected"))


def test_any_message_that_is_refused_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plumbing, "Connection", Refusing)
    failed = []
    for number in itertools.count():
        Refusing.left = number
        with contextlib.suppress(CniError):
            place.plumb()
        if Refusing.left >= 0:
            break  # there are not that many messages
        failed.append(Refusing.refused)
        assert place.interfaces() == {"lo"}, failed
        assert not place.routes(), failed
    assert "add route 10.40.0.5/32 on interface" in " ".join(failed)
    assert "name the owner of rom0123456789ab" in failed
    assert len(failed) > 12


def test_silent_kernel_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plumbing, "Connection", Refusing)
    monkeypatch.setattr(Refusing, "error", staticmethod(lambda message: Unavailable(message.what)))
    Refusing.left = 6
    with pytest.raises(Unavailable):
        place.plumb()
    assert place.interfaces() == {"lo"}


def test_unplumb_tells_what_stood_there_and_leaves_foreign_interfaces(place: Place) -> None:
    def unplumb(alias: str) -> HostEnd:
        return netns.call_in(place.node_fd, lambda: plumbing.unplumb("rom0123456789ab", alias))

    assert unplumb("romana:test") is HostEnd.ABSENT
    place.plumb()
    assert unplumb("romana:another") is HostEnd.FOREIGN
    assert "eth0" in place.interfaces()
    assert unplumb("romana:test") is HostEnd.FINISHED
    assert place.interfaces() == {"lo"}


def uplink(place: Place, *addresses: IPv4Address) -> int:
    return netns.call_in(place.node_fd, lambda: plumbing.uplink_mtu(addresses))


def test_mtu_is_that_of_the_interface_with_the_nodes_address_else_of_the_default_route(place: Place) -> None:
    address = IPv4Address("198.18.0.2")
    assert uplink(place, address) == 1500
    for name, mtu in (("up0", UPLINK_MTU), ("up1", 1300)):
        ip("-n", place.node, "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", "name", f"x{name}")
        ip("-n", place.node, "link", "set", name, "up")
    ip("-n", place.node, "route", "add", "default", "dev", "up1")
    assert uplink(place, address) == 1300
    ip("-n", place.node, "address", "add", f"{address}/24", "dev", "up0")
    assert uplink(place, address) == UPLINK_MTU
    ip("-n", place.node, "address", "del", f"{address}/24", "dev", "up0")
    ip("-n", place.node, "address", "add", f"{address}/32", "dev", "lo")  # a routed fabric keeps it on loopback
    assert uplink(place, address) == 1300


def test_forwarding_is_switched_on(place: Place) -> None:
    def forwarding() -> str:
        return (plumbing.IPV4_SYSCTL / "ip_forward").read_text().strip()

    netns.call_in(place.node_fd, lambda: (plumbing.IPV4_SYSCTL / "ip_forward").write_text("0"))
    netns.call_in(place.node_fd, plumbing.prepare_node)
    assert netns.call_in(place.node_fd, forwarding) == "1"
