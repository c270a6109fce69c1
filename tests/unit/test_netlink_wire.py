"""rtnetlink messages: bytes that the headers of Linux prescribe, and back."""

import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from romana.netlink import ip, links
from romana.netlink.wire import (
    ACK,
    CREATE,
    EXCL,
    REQUEST,
    Failure,
    Message,
    Reply,
    attribute,
    failure,
    parse_attributes,
    parse_replies,
    text,
    u32,
)


@pytest.mark.parametrize(("value", "padded"), [(b"", b""), (b"a", b"a\0\0\0"), (b"abcd", b"abcd"), (b"abcde", b"abcde\0\0\0")])
def test_attribute_states_its_length_and_is_padded_to_four(value: bytes, padded: bytes) -> None:
    assert attribute(3, value) == struct.pack("=HH", 4 + len(value), 3) + padded


def test_attributes_come_back_without_their_flag_bits() -> None:
    blob = attribute(1, b"x") + attribute(0x8000 | 2, u32(7)) + attribute(3, text("eth0"))
    assert parse_attributes(blob) == {1: b"x", 2: u32(7), 3: b"eth0\0"}


@pytest.mark.parametrize("blob", [b"", b"\0", b"\0\0\0\0", b"\x03\0\x01\0"])
def test_broken_attributes_end_the_parsing(blob: bytes) -> None:
    assert parse_attributes(blob) == {}


def test_message_asks_for_an_acknowledgement_under_its_sequence_number() -> None:
    blob = Message("x", 16, CREATE | EXCL, b"12345").pack(9)
    assert blob == struct.pack("=IHHII", 21, 16, REQUEST | ACK | CREATE | EXCL, 9, 0) + b"12345\0\0\0"
    assert list(parse_replies(blob)) == [Reply(16, REQUEST | ACK | CREATE | EXCL, 9, b"12345")]


def test_acknowledgement_of_zero_is_a_success() -> None:
    assert failure(Reply(2, 0, 1, struct.pack("=i", 0) + bytes(16))) == Failure(0, "")


def test_refusal_carries_errno_and_the_kernels_words() -> None:
    echoed = struct.pack("=IHHII", 16, 16, 5, 1, 0)
    words = attribute(1, b"Unknown device type\0")
    assert failure(Reply(2, 0x300, 1, struct.pack("=i", -95) + echoed + words)) == Failure(95, "Unknown device type")


def test_veth_has_its_peer_in_the_other_namespace_from_the_first_moment() -> None:
    message = links.create_veth("rom1", "eth0", 42, mac="ee:ee:ee:ee:ee:ee", mtu_bytes=1400)
    found = parse_attributes(message.payload[16:])
    data = parse_attributes(parse_attributes(found[links.IFLA_LINKINFO])[links.IFLA_INFO_DATA])
    peer = parse_attributes(data[links.VETH_INFO_PEER][16:])
    assert (found[links.IFLA_IFNAME], peer[links.IFLA_IFNAME]) == (b"rom1\0", b"eth0\0")
    assert peer[links.IFLA_NET_NS_FD] == u32(42)
    assert found[links.IFLA_MTU] == peer[links.IFLA_MTU] == u32(1400)


def test_link_comes_back() -> None:
    payload = struct.pack("=BxHiII", 0, 1, 7, 1, 0) + attribute(links.IFLA_IFNAME, text("rom1"))
    payload += attribute(links.IFLA_ADDRESS, bytes(5) + b"\x01") + attribute(links.IFLA_OPERSTATE, b"\x06")
    payload += attribute(links.IFLA_LINKINFO, attribute(links.IFLA_INFO_KIND, b"veth\0"))
    payload += attribute(links.IFLA_LINK, u32(3)) + attribute(links.IFLA_MTU, u32(1500))
    assert links.parse_link(Reply(16, 0, 1, payload)) == links.Link(
        index=7, name="rom1", up=True, operstate=6, mac="00:00:00:00:00:01", mtu_bytes=1500, kind="veth", alias="", peer_index=3
    )


@pytest.mark.parametrize("before", [b"", attribute(links.IFLA_MTU, u32(1500))])
def test_name_is_found_wherever_it_stands(before: bytes) -> None:
    payload = struct.pack("=BxHiII", 0, 1, 7, 1, 0) + before + attribute(links.IFLA_IFNAME, text("rom0123456789ab"))
    event = Reply(16, 0, 1, payload + attribute(links.IFLA_LINK, u32(3)))
    assert (links.name_of(event), links.deleted_index(event)) == ("rom0123456789ab", 7)


def test_address_route_and_neighbour_come_back_from_the_bytes_we_send() -> None:
    address = ip.add_address(7, IPv4Interface("10.40.0.5/32"))
    assert ip.parse_address(Reply(20, 0, 1, address.payload)) == (7, IPv4Interface("10.40.0.5/32"))
    route = ip.parse_route(Reply(24, 0, 1, ip.add_route(IPv4Network("0.0.0.0/0"), 7, gateway=IPv4Address("169.254.1.1")).payload))
    assert (route.destination, route.gateway, route.interface) == (IPv4Network("0.0.0.0/0"), IPv4Address("169.254.1.1"), 7)
    neighbour = ip.add_neighbour(IPv4Address("169.254.1.1"), 7, "ee:ee:ee:ee:ee:ee")
    assert ip.parse_neighbour(Reply(28, 0, 1, neighbour.payload)) == ip.Neighbour(
        IPv4Address("169.254.1.1"), 7, "ee:ee:ee:ee:ee:ee", ip.PERMANENT
    )


def test_first_hop_of_a_multipath_route_counts() -> None:
    hop = struct.pack("=HBBi", 8, 0, 0, 5)
    payload = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(ip.RTA_MULTIPATH, hop)
    assert ip.parse_route(Reply(24, 0, 1, payload)).interface == 5
