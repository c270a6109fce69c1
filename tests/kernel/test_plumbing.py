"""Plumbing in real namespaces with a kernel that refuses any one message: nothing is left, whichever it is."""

import contextlib
import errno
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface

import pytest

from cni import plumbing, sysctls
from cni.errors import CniError
from cni.veth import Ends, Veth
from cni.wiring import Wiring
from romana.errors import RomanaError, Unavailable
from romana.netlink import netns, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.links import delete_link
from romana.netlink.pool import Pool
from romana.netlink.wire import Failure, Message, Reply
from tests.fakes.cni_node import UPLINK_MTU, ip, namespace, opened

pytestmark = pytest.mark.kernel

WANTED = Wiring("rom0123456789ab", "eth0", "romana:test", "02:00:00:00:00:05", 1400)
ADDRESSES = (ip_interface("10.40.0.5/32"), ip_interface("fd00::5/128"))


@dataclass(frozen=True)
class Place:
    node: str
    pod: str
    node_fd: int
    pod_fd: int
    pool: Pool

    def plumb(self) -> Ends:
        """All three steps; on an error, what ADD does then."""
        return netns.call_in(self.node_fd, self._plumb)

    def _plumb(self) -> Ends:
        with contextlib.closing(Veth(self.pool, WANTED, self.pod_fd)) as veth:
            try:
                assert veth.create()
                veth.address(ADDRESSES)
                return veth.wait(veth.open(ADDRESSES))
            except RomanaError:
                self.unplumb()
                raise

    def unplumb(self) -> None:
        with self.pool.borrow() as here:
            link = queries.find_link(here, WANTED.host_interface)
            if link:
                here.run(delete_link(link.index, link.name))

    def interfaces(self) -> set[str]:
        return {link["ifname"] for name in (self.node, self.pod) for link in json.loads(ip("-n", name, "-j", "link"))}

    def routes(self) -> str:
        tables = [ip("-n", name, family, "route") for name in (self.node, self.pod) for family in ("-4", "-6")]
        return "".join(tables)


@pytest.fixture
def place() -> Iterator[Place]:
    with namespace("node") as node, namespace("pod") as pod, opened(node) as node_fd, opened(pod) as pod_fd, Pool() as pool:
        yield Place(node, pod, node_fd, pod_fd, pool)


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
            if message.what.startswith(("delete", "look up interface rom")) and Refusing.left < 0:
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
    monkeypatch.setattr("romana.netlink.pool.Connection", Refusing)
    monkeypatch.setattr("cni.veth.Connection", Refusing)
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
    assert "add route fd00::5/128 on interface" in " ".join(failed)
    assert "name the owner of rom0123456789ab" in failed
    assert len(failed) > 20


def test_silent_kernel_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("romana.netlink.pool.Connection", Refusing)
    monkeypatch.setattr("cni.veth.Connection", Refusing)
    monkeypatch.setattr(Refusing, "error", staticmethod(lambda message: Unavailable(message.what)))
    Refusing.left = 6
    with pytest.raises(Unavailable):
        place.plumb()
    assert place.interfaces() == {"lo"}


def uplink(place: Place, *addresses: IPv4Address) -> int:
    return netns.call_in(place.node_fd, lambda: plumbing.Uplink().mtu_bytes(addresses))


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
        return (sysctls.IPV4 / "ip_forward").read_text().strip()

    netns.call_in(place.node_fd, lambda: (sysctls.IPV4 / "ip_forward").write_text("0"))
    netns.call_in(place.node_fd, plumbing.prepare_node)
    assert netns.call_in(place.node_fd, forwarding) == "1"


def test_an_uplink_that_learns_from_routers_goes_on_to_when_ipv6_is_forwarded(place: Place) -> None:
    def accept_ra(interface: str) -> str:
        return netns.call_in(place.node_fd, lambda: (sysctls.IPV6 / "conf" / interface / "accept_ra").read_text().strip())

    ip("-n", place.node, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    netns.call_in(place.node_fd, lambda: (sysctls.IPV6 / "conf" / "up1" / "accept_ra").write_text("0"))
    assert accept_ra("up0") == "1"
    for _ in range(2):
        netns.call_in(place.node_fd, sysctls.forward_ipv6)
    assert (accept_ra("up0"), accept_ra("up1")) == ("2", "0")
    forwarding = netns.call_in(place.node_fd, lambda: (sysctls.IPV6 / "conf" / "all" / "forwarding").read_text().strip())
    assert forwarding == "1"


def test_a_host_end_takes_no_advertisements_and_no_foreign_source(place: Place) -> None:
    place.plumb()

    def settings() -> list[str]:
        names = (sysctls.IPV6 / "conf/rom0123456789ab/accept_ra", sysctls.IPV4 / "conf/rom0123456789ab/rp_filter")
        return [path.read_text().strip() for path in names]

    assert netns.call_in(place.node_fd, settings) == ["0", "1"]
