"""Whose routes a dump shows, and which of ours a foreign one shadows."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from romana.names import ROUTE_PROTOCOL_AGENT, ROUTE_PROTOCOL_ROUTED
from routed.model import Installed, Route
from routed.observed import foreign_notes, observed_in
from routed.plan import installed
from routed.wire import KernelRoute

BOOT, STATIC = 3, 4
WANTED = Route(ip_network("10.40.0.8/29"), ip_address("192.0.2.2"))
OURS = installed(WANTED)
THEIRS = replace(OURS, next_hop=ip_address("192.0.2.3"))
OURS6 = installed(Route(ip_network("fd00::/122"), None))


def by(protocol: int, route: Installed) -> KernelRoute:
    return KernelRoute(route, 254, protocol)


@pytest.mark.parametrize(
    ("dump", "shadowed"),
    [
        pytest.param([by(ROUTE_PROTOCOL_ROUTED, OURS)], False, id="alone"),
        pytest.param([by(ROUTE_PROTOCOL_ROUTED, OURS), by(BOOT, THEIRS)], False, id="first"),
        pytest.param([by(BOOT, THEIRS), by(ROUTE_PROTOCOL_ROUTED, OURS)], True, id="behind"),
        pytest.param([by(BOOT, OURS), by(ROUTE_PROTOCOL_ROUTED, OURS)], True, id="behind one to the same next hop"),
        pytest.param([by(BOOT, replace(THEIRS, metric=9)), by(ROUTE_PROTOCOL_ROUTED, OURS)], False, id="other metric"),
        pytest.param([by(BOOT, replace(THEIRS, tos=16)), by(ROUTE_PROTOCOL_ROUTED, OURS)], False, id="other TOS"),
        pytest.param([by(BOOT, OURS6), by(ROUTE_PROTOCOL_ROUTED, OURS6)], False, id="IPv6: nothing can be put before it"),
    ],
)
def test_ours_is_shadowed_when_a_foreign_one_stands_before_it_in_its_slot(dump: list[KernelRoute], shadowed: bool) -> None:
    found = observed_in(dump)
    assert [route.shadowed for route in found.routes] == [shadowed]
    assert found.foreign == tuple(each for each in dump if each.protocol == BOOT)


def test_foreign_route_in_the_place_of_a_wanted_one_is_noted() -> None:
    elsewhere = replace(THEIRS, destination=ip_network("10.77.0.0/16"))
    pods = by(ROUTE_PROTOCOL_AGENT, replace(THEIRS, destination=ip_network("10.40.0.9/32")))
    foreign = [by(STATIC, THEIRS), by(BOOT, elsewhere), by(BOOT, replace(THEIRS, metric=9)), pods, by(BOOT, OURS6)]
    (note,) = foreign_notes([WANTED, Route(OURS6.destination, None)], foreign)
    assert note.id == "foreign-route"
    assert "10.40.0.8/29 via 192.0.2.3 proto 4" in note.text
    assert foreign_notes([], foreign) == foreign_notes([WANTED], []) == ()
