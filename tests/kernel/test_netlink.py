"""Raw rtnetlink against a real kernel, and work in other network namespaces."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from romana.netlink import ip, netns, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.links import change_link, create_veth, delete_link, get_link
from tests.fakes.cni_node import ip as iproute
from tests.fakes.cni_node import namespace, opened

pytestmark = pytest.mark.kernel


@pytest.fixture
def here() -> Iterator[int]:
    with namespace("here") as name, opened(name) as fd:
        yield fd


@pytest.fixture
def there() -> Iterator[int]:
    with namespace("there") as name, opened(name) as fd:
        yield fd


@pytest.fixture
def connection(here: int) -> Iterator[Connection]:
    with netns.call_in(here, Connection) as made:
        yield made


def own() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_work_happens_inside_and_the_thread_stays_outside(here: int) -> None:
    before, threads = own(), threading.active_count()
    assert netns.call_in(here, own) != before
    assert own() == before
    assert threading.active_count() == threads


def test_errors_of_the_work_reach_the_caller(here: int) -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        netns.call_in(here, fail)


def test_no_descriptor_stays_open(here: int) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of descriptors only the number matters
    for _ in range(20):
        netns.call_in(here, own)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_what_is_no_namespace_is_told_and_not_entered() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    assert not netns.is_netns(fd)
    with pytest.raises(netns.NetnsError):
        netns.call_in(fd, own)
    os.close(fd)


def test_own_namespace_is_told_from_others(here: int) -> None:
    mine = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert netns.is_own(mine)
    assert netns.is_netns(mine)
    assert netns.is_netns(here)
    assert not netns.is_own(here)
    os.close(mine)
    uts = os.open("/proc/self/ns/uts", os.O_RDONLY)
    assert not netns.is_netns(uts)
    os.close(uts)


def test_veth_pair_lies_in_two_namespaces_and_each_end_knows_the_other(connection: Connection, there: int) -> None:
    connection.run(create_veth("a0", "b0", there, mac="ee:ee:ee:ee:ee:ee", mtu_bytes=1400))
    with netns.call_in(there, Connection) as other:
        near, far = queries.find_link(connection, "a0"), queries.find_link(other, "b0")
    assert near
    assert far
    assert (near.mac, near.mtu_bytes, near.kind, near.up) == ("ee:ee:ee:ee:ee:ee", 1400, "veth", True)
    assert (far.mtu_bytes, far.up) == (1400, False)
    assert (near.peer_index, far.peer_index) == (far.index, near.index)
    connection.run(delete_link(near.index, "a0"))
    assert queries.find_link(connection, "a0") is None


def test_first_refusal_of_a_batch_is_raised_with_what_was_tried(connection: Connection, there: int) -> None:
    veth = create_veth("a0", "b0", there, mac="ee:ee:ee:ee:ee:ee", mtu_bytes=1400)
    connection.run(veth)
    with pytest.raises(NetlinkError, match="cannot create veth pair a0, b0: File exists") as caught:
        connection.run(veth, get_link("nothing"))
    assert caught.value.errno == errno.EEXIST
    assert connection.run(get_link("a0"))[0]  # the socket is still in step


def test_routes_addresses_and_neighbours_are_set_and_found(connection: Connection, there: int) -> None:
    connection.run(create_veth("a0", "b0", there, mac="ee:ee:ee:ee:ee:ee", mtu_bytes=1400))
    with netns.call_in(there, Connection) as other:
        far = queries.find_link(other, "b0")
        assert far
        other.run(change_link(far.index, "up", up=True))
    near = queries.find_link(connection, "a0")
    assert near
    pod, gateway = IPv4Address("10.40.0.5"), IPv4Address("10.40.0.6")
    connection.run(
        ip.add_address(near.index, IPv4Interface("198.18.0.1/32")),
        ip.add_route(IPv4Network(pod), near.index, protocol=83),
        ip.add_route(IPv4Network(gateway), near.index),
        ip.add_route(IPv4Network("0.0.0.0/0"), near.index, gateway=gateway, metric=7),
        ip.add_neighbour(pod, near.index, "02:00:00:00:00:01"),
    )
    assert (near.index, IPv4Interface("198.18.0.1/32")) in queries.addresses(connection)
    route = queries.find_route(connection, pod)
    assert route
    assert (route.destination, route.interface, route.protocol) == (IPv4Network(pod), near.index, 83)
    default = [found for found in queries.routes(connection) if not found.destination.prefixlen]
    assert [found.gateway for found in default] == [gateway]
    neighbour = queries.find_neighbour(connection, pod, near.index)
    assert neighbour
    assert (neighbour.mac, neighbour.state) == ("02:00:00:00:00:01", ip.PERMANENT)
    assert queries.find_neighbour(connection, IPv4Address("10.9.9.9"), near.index) is None


def test_no_route_and_unreachable_routes_are_no_route() -> None:
    with namespace("here") as name, opened(name) as fd, netns.call_in(fd, Connection) as connection:
        assert queries.find_route(connection, IPv4Address("10.1.1.1")) is None
        iproute("-n", name, "route", "add", "unreachable", "10.0.0.0/8")
        assert queries.find_route(connection, IPv4Address("10.1.1.1")) is None


def test_thousands_of_routes_are_listed_whole() -> None:
    with namespace("here") as name, opened(name) as fd, netns.call_in(fd, Connection) as connection:
        iproute("-n", name, "link", "set", "lo", "up")
        connection.run(*(ip.add_route(IPv4Network((0x0A000000 + n, 32)), 1) for n in range(200)))
        for base in range(200, 5000, 200):
            connection.run(*(ip.add_route(IPv4Network((0x0A000000 + n, 32)), 1) for n in range(base, base + 200)))
        assert len(queries.routes(connection)) == 5000


def test_socket_of_another_namespace_serves_from_here(here: int) -> None:
    made = netns.call_in(here, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with made, pytest.raises(OSError, match="unreachable"):
        made.connect(("127.0.0.1", 9))  # its loopback is down; ours is up


def test_batch_whose_answers_do_not_fit_the_buffer_is_answered_whole(connection: Connection, there: int) -> None:
    connection.run(create_veth("a0", "b0", there, mac="ee:ee:ee:ee:ee:ee", mtu_bytes=1400))
    found, outcomes = connection.attempt(*(get_link("a0" if number % 2 else "nothing") for number in range(1000)))
    assert [bool(answer) for answer in found] == [bool(number % 2) for number in range(1000)]
    assert [outcome.errno for outcome in outcomes] == [0 if number % 2 else errno.ENODEV for number in range(1000)]
