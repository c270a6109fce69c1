"""Members of sets, epochs, and tables as the kernel writes them."""

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyd.compiled import PortPeers, Protocol
from policyd.epoch import EPOCH_MAX, FIRST_EPOCH, epoch_in, epoch_of_mark, free_epoch, mark_text
from policyd.ipset.codec import decode, encode, listed, split
from policyd.ipset.model import IpSet, Member, SetType, Station
from policyd.ipset.reading import Difference, ReadSet, difference
from policyd.ipset.wire import add, create
from romana.errors import InvalidInput

networks = st.one_of(
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.integers(0, 2**128 - 1), st.integers(1, 128)),
)
ports = st.builds(PortPeers, networks, st.sampled_from(Protocol), st.integers(0, 65535))
stations = st.builds(Station, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.from_regex(r"\Arom[0-9a-f]{12}\Z"))


@given(st.one_of(st.tuples(st.just(SetType.NET), networks), st.tuples(st.just(SetType.NET_PORT), ports),
                 st.tuples(st.just(SetType.NET_IFACE), stations)))  # fmt: skip
def test_member_read_back_is_the_one_written(case: tuple[SetType, Member]) -> None:
    kind, member = case
    assert [decode(kind, data) for data in split(encode(member) * 2)] == [member, member]


def test_thousands_of_members_go_into_few_messages_none_of_them_too_long() -> None:
    members = [PortPeers(IPv4Network((0x0A000000 + number, 32)), Protocol.TCP, 80) for number in range(10_000)]
    messages = list(add("rom-x", 4, members))
    assert len(messages) < 10
    assert max(len(message.payload) for message in messages) < 1 << 16
    assert list(add("rom-x", 4, [])) == []


@pytest.mark.parametrize(("size", "buckets"), [(0, 64), (100, 64), (1000, 512), (200_000, 131_072), (1 << 30, 1 << 20)])
def test_set_is_made_with_room_for_its_members(size: int, buckets: int) -> None:
    payload = create(IpSet("rom-x", SetType.NET, 4, ()), size, 0).payload
    assert struct.pack(">I", buckets) in payload


def test_member_with_flags_is_none_of_ours() -> None:
    flagged = encode(IPv4Network("10.0.0.0/8")) + struct.pack("=HH", 8, 0x4008) + struct.pack(">I", 4)
    longer = struct.pack("=H", len(flagged)) + flagged[2:]
    with pytest.raises(ValueError, match="nomatch"):
        decode(SetType.NET, longer)


def test_station_of_another_interface_is_none_of_ours() -> None:
    with pytest.raises(InvalidInput):
        Station(IPv4Address("10.0.0.1"), "eth0")
    assert Station(IPv6Address("::1"), "rom12").interface == "rom12"


def test_epoch_is_never_0_and_skips_what_connections_carry() -> None:
    assert free_epoch(1, ()) == 2
    assert free_epoch(EPOCH_MAX, ()) == FIRST_EPOCH
    assert free_epoch(EPOCH_MAX, {1, 2, 4}) == 3
    assert free_epoch(7, range(EPOCH_MAX + 1)) is None


@given(st.integers(FIRST_EPOCH, EPOCH_MAX))
def test_epoch_is_read_from_the_rule_that_stamps_it(epoch: int) -> None:
    assert epoch_in(f"-j CONNMARK --set-xmark {mark_text(epoch)}") == epoch
    assert epoch_of_mark(epoch << 16 | 0xBEEF) == epoch


@pytest.mark.parametrize(
    "rule", ["-j RETURN", "-j CONNMARK --set-xmark 0x1/0xffffffff", "-j CONNMARK --set-xmark 0x0/0xffff0000"]
)
def test_mark_of_others_is_no_epoch(rule: str) -> None:
    assert epoch_in(rule) is None


NETS = frozenset(IPv4Network(f"10.{number}.0.0/16") for number in range(4))
WANTED = IpSet("rom-x", SetType.NET, 4, NETS)


def read_as(*data: bytes, kind: SetType = SetType.NET) -> ReadSet:
    return ReadSet("rom-x", kind, 4, frozenset(data))


def test_set_as_read_differs_by_its_members_only() -> None:
    stranger = IPv4Network("192.0.2.0/24")
    half = sorted(NETS)[:2]
    assert difference(WANTED, read_as(*map(listed, NETS))) == Difference(frozenset(), frozenset())
    assert difference(WANTED, read_as(*map(encode, NETS))) == Difference(frozenset(), frozenset())  # another spelling
    assert difference(WANTED, read_as(*map(listed, [*half, stranger]))) == Difference(NETS - {*half}, frozenset({stranger}))


def test_set_of_another_type_or_with_strange_members_is_made_anew() -> None:
    assert difference(WANTED, read_as(kind=SetType.NET_PORT)) is None
    assert difference(WANTED, read_as(listed(IPv4Network("10.0.0.0/8"))[:12])) is None
    assert difference(WANTED, IpSet("rom-x", SetType.NET, 6, ())) is None
