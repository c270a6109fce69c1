"""rtnetlink messages, built here as pyroute2 builds them: two readers of one layout must agree."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from romana.names import ROUTE_PROTOCOL_AGENT, ROUTE_PROTOCOL_ROUTED
from routed.model import Installed
from routed.wire import KernelRoute, concerns_us, parse_route

OWN_PORT = 4242


def encoded(message: Any, kind: int, port: int = 0) -> bytes:
    message["header"].update(type=kind, pid=port)
    message.encode()
    return bytes(message.data)


def route_message(attrs: list[tuple[str, object]], port: int = 0, kind: int = 24, **fields: int) -> bytes:
    message = rtmsg()
    message.update({"family": 2, "dst_len": 24, "table": 254, "proto": ROUTE_PROTOCOL_ROUTED, "type": 1, **fields})
    message["attrs"] = attrs
    return encoded(message, kind, port)


def link_message(name: str) -> bytes:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name)]
    return encoded(message, 16)


DST = ("RTA_DST", "10.1.0.0")
GATEWAY = ("RTA_GATEWAY", "192.0.2.1")
N4, VIA = ip_network("10.1.0.0/24"), ip_address("192.0.2.1")


@pytest.mark.parametrize(
    ("attrs", "fields", "expected"),
    [
        ([DST, GATEWAY, ("RTA_OIF", 3)], {}, Installed(N4, VIA, 0)),
        ([DST, GATEWAY, ("RTA_PRIORITY", 7)], {"tos": 16}, Installed(N4, VIA, 7, 16)),
        ([DST], {"type": 7}, Installed(N4, None, 0, type=7)),
        ([DST, GATEWAY], {"flags": 4}, Installed(N4, VIA, 0, plain=False)),
        ([DST, GATEWAY, ("RTA_PREFSRC", "192.0.2.9")], {}, Installed(N4, VIA, 0, plain=False)),
        ([GATEWAY], {"dst_len": 0}, Installed(ip_network("0.0.0.0/0"), VIA, 0)),
        (
            [("RTA_DST", "fd00::"), ("RTA_GATEWAY", "fe80::1"), ("RTA_PRIORITY", 1024)],
            {"family": 10, "dst_len": 122},
            Installed(ip_network("fd00::/122"), ip_address("fe80::1"), 1024),
        ),
    ],
)
def test_route_is_read_with_all_that_makes_it_different(
    attrs: list[tuple[str, object]], fields: dict[str, int], expected: Installed
) -> None:
    data = route_message(attrs, **fields)
    assert parse_route(data, 0, len(data)) == KernelRoute(expected, 254, ROUTE_PROTOCOL_ROUTED)


def test_large_table_numbers_are_in_the_attribute() -> None:
    data = route_message([DST, ("RTA_TABLE", 1000)], table=252)
    found = parse_route(data, 0, len(data))
    assert found is not None
    assert found.table == 1000


@pytest.mark.parametrize("fields", [{"family": 28}, {"flags": 0x200}])
def test_other_families_and_cached_entries_are_no_routes(fields: dict[str, int]) -> None:
    data = route_message([], **fields)
    assert parse_route(data, 0, len(data)) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(route_message([DST]), True, id="our route, by somebody else"),
        pytest.param(route_message([DST], kind=25), True, id="our route deleted"),
        pytest.param(route_message([DST], proto=2), True, id="a connected network: a next hop may be reachable now"),
        pytest.param(route_message([DST], port=OWN_PORT), False, id="our own change"),
        pytest.param(route_message([DST], proto=ROUTE_PROTOCOL_AGENT), False, id="the agent's route to a pod"),
        pytest.param(route_message([DST], table=255), False, id="a local address"),
        pytest.param(link_message("eth0"), True, id="a link"),
        pytest.param(link_message("rom0123456789ab"), False, id="a pod's interface"),
        pytest.param(link_message("rom0123456789ab") + route_message([DST]), True, id="the second of two messages"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"\0" * 40, False, id="garbage"),
    ],
)
def test_only_what_can_make_our_routes_wrong_wakes_us(data: bytes, expected: bool) -> None:
    assert concerns_us(data, OWN_PORT) is expected
