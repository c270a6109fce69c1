"""Pods with an IPv6 address, alone or beside an IPv4 one: first packets, CHECK, and what is kept."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.netlink import netns
from tests.fakes.cni_node import Node, a_node, ip, namespace, opened, until

pytestmark = pytest.mark.kernel

NODE_IPV6 = "fd00:f::2"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        ip("-n", made.name, "address", "add", f"{NODE_IPV6}/64", "dev", "up0", "nodad")
        made.ipamd.free = [f"10.40.0.{number},fd00::{number}" for number in range(1, 9)]
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


@pytest.fixture
def other() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


def sockets(name: str, address: str) -> tuple[socket.socket, socket.socket]:
    """A sender and a receiver of datagrams in a namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with opened(name) as fd:
        made = netns.call_in(fd, lambda: [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)])
    made[1].settimeout(5)
    made[1].bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 7777))  # noqa: S104 - inside the test's namespace
    return made[0], made[1]


def first_datagram_arrives(source: str, target: str, address: str) -> bool:
    """One datagram, the very first, is sent once."""
    out, unused = sockets(source, address)
    spare, into = sockets(target, address)
    with out, unused, spare, into:
        out.sendto(b"first", (address, 7777))
        try:
            return into.recv(16) == b"first"
        except TimeoutError:
            return False


def addresses(node: Node) -> tuple[str, str]:
    """Those of the only pod."""
    (held,) = node.ipamd.held.values()
    four, six = held.split(",")
    return four, six


async def test_the_very_first_packet_arrives_both_ways_in_both_families(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod)).status == 0
    for address, own in zip(addresses(node), ("198.18.0.2", NODE_IPV6), strict=True):
        assert first_datagram_arrives(node.name, pod, address), address
        assert first_datagram_arrives(pod, node.name, own), own


async def test_the_very_first_packet_goes_from_pod_to_pod(node: Node, pod: str, other: str) -> None:
    await node.cni("ADD", pod)
    four, six = addresses(node)
    assert (await node.cni("ADD", other)).status == 0
    assert first_datagram_arrives(other, pod, six)
    assert first_datagram_arrives(other, pod, four)


async def test_a_pod_with_ipv6_alone_works_where_the_runtime_switched_it_off(node: Node, pod: str) -> None:
    node.ipamd.free = ["fd00::9"]
    with opened(pod) as fd:
        for interface in ("all", "default"):
            path = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
            netns.call_in(fd, lambda path=path: path.write_text("1"))  # type: ignore[misc]
    assert (await node.cni("ADD", pod)).status == 0
    assert first_datagram_arrives(node.name, pod, "fd00::9")
    assert (await node.cni("DEL", pod)).status == 0
    await node.cleaned()


async def test_what_is_made_for_ipv6_is_as_documented(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    _, six = addresses(node)
    (route,) = json.loads(ip("-n", node.name, "-6", "-j", "route", "show", "proto", "83"))
    assert (route["dst"], route["dev"]) == (six, node.interfaces()[0])
    default = json.loads(ip("-n", pod, "-6", "-j", "route", "show", "default"))
    assert [(found["gateway"], found["dev"]) for found in default] == [("fe80::1", "eth0")]
    (link,) = json.loads(ip("-n", pod, "-6", "-j", "address", "show", "eth0"))
    (address,) = [found for found in link["addr_info"] if found["local"] == six]
    assert address["prefixlen"] == 128
    assert not {"tentative", "dadfailed"} & address.keys()
    gateway = json.loads(ip("-n", pod, "-6", "-j", "neigh", "show", "fe80::1", "nud", "permanent"))
    assert [found["lladdr"] for found in gateway] == ["ee:ee:ee:ee:ee:ee"]


async def test_del_leaves_nothing_of_either_family(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    assert (await node.cni("DEL", pod)).status == 0
    await node.cleaned()
    assert not ip("-n", node.name, "-6", "route", "show", "proto", "83")
    assert not ip("-n", node.name, "-6", "neigh", "show", "nud", "permanent")


async def test_two_interfaces_answer_each_by_itself_and_leave_no_rule(node: Node, pod: str) -> None:
    for name in ("eth0", "net1"):
        assert (await node.cni("ADD", pod, ifname=name)).status == 0
    for held in node.ipamd.held.values():
        for address in held.split(","):
            assert first_datagram_arrives(node.name, pod, address), address
    rules = ip("-n", pod, "-6", "rule")
    assert (await node.cni("DEL", pod, ifname="net1")).status == 0
    assert ip("-n", pod, "-6", "rule") != rules
    assert "fd00" not in ip("-n", pod, "-6", "rule")


@pytest.mark.parametrize(
    "command",
    ["-6 route del fd00::1", "-6 neigh del fd00::1 dev HOST", "link set HOST down", "route del 10.40.0.1"],
)
async def test_losses_of_either_family_are_repaired(node: Node, pod: str, command: str) -> None:
    await node.cni("ADD", pod)
    (host,) = node.interfaces()
    ip("-n", node.name, *command.replace("HOST", host).split())
    if command.endswith("down"):
        ip("-n", node.name, "link", "set", host, "up")

    def is_whole() -> bool:
        routes = ip("-n", node.name, "-6", "route", "show", "proto", "83") + ip("-n", node.name, "route", "show", "proto", "83")
        neighbours = ip("-n", node.name, "-6", "neigh", "show", "nud", "permanent", "dev", host)
        return "fd00::1" in routes and "10.40.0.1" in routes and "fd00::1" in neighbours

    await until(is_whole, 60)
    assert first_datagram_arrives(node.name, pod, "fd00::1")


async def test_check_passes_right_after_add_and_names_what_is_missing_of_ipv6(node: Node, pod: str) -> None:
    result = (await node.cni("ADD", pod)).json
    assert (await node.cni("CHECK", pod, conf={"prevResult": result})).status == 0
    await node.kill_agent()
    for key in node.records:
        node.note("forget", key)  # so that what is broken stays broken
    await node.start_agent()
    sabotages = {
        "address fd00::1/128": ("-n", pod, "address", "del", "fd00::1/128", "dev", "eth0"),
        "route ::/0 via fe80::1": ("-n", pod, "-6", "route", "del", "default"),
        "permanent neighbour fe80::1": ("-n", pod, "-6", "neigh", "del", "fe80::1", "dev", "eth0"),
        "host route fd00::1/128": ("-n", node.name, "-6", "route", "del", "fd00::1"),
        "permanent neighbour fd00::1": ("-n", node.name, "-6", "neigh", "del", "fd00::1", "dev", node.interfaces()[0]),
    }
    for command in sabotages.values():
        ip(*command)
    failed = (await node.cni("CHECK", pod, conf={"prevResult": result})).json
    assert failed["code"] == 102
    assert [named for named in sabotages if named not in failed["msg"]] == []
    assert "10.40.0.1" not in failed["msg"]
