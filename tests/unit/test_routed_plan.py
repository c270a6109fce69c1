"""From the routes that are there to those that should be."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from routed.model import Add, Delete, Installed, Op, Replace, Route
from routed.plan import installed, plan_routes
from routed.text import op_text


def route(destination: str, next_hop: str | None = "192.0.2.2") -> Route:
    return Route(ip_network(destination), None if next_hop is None else ip_address(next_hop))


A = route("10.40.0.0/29")
A_ELSEWHERE = route("10.40.0.0/29", "192.0.2.3")
A_OWN = route("10.40.0.0/29", None)
WIDE = route("10.40.0.0/24")
LOW_METRIC = replace(installed(A), metric=5)
FANCY = replace(installed(A), plain=False)
SHADOWED = replace(installed(A), shadowed=True)
STALE = installed(A_ELSEWHERE)
STALE_SHADOWED = replace(STALE, shadowed=True)


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        pytest.param([], [], [], id="nothing to do"),
        pytest.param([A], [], [Add(A)], id="missing"),
        pytest.param([A], [installed(A)], [], id="there"),
        pytest.param([], [installed(A)], [Delete(installed(A))], id="too much"),
        pytest.param([A_ELSEWHERE], [installed(A)], [Replace(A_ELSEWHERE, installed(A))], id="other next hop: in place"),
        pytest.param([A_OWN], [installed(A)], [Replace(A_OWN, installed(A))], id="became ours: in place"),
        pytest.param([A], [FANCY], [Replace(A, FANCY)], id="somebody added what we never write"),
        pytest.param([A], [installed(A), LOW_METRIC], [Delete(LOW_METRIC)], id="a second metric of ours goes"),
        pytest.param(
            [A], [installed(A_ELSEWHERE), installed(A)], [Delete(installed(A_ELSEWHERE))], id="an appended next hop goes"
        ),
        pytest.param([A], [SHADOWED], [Replace(A, SHADOWED)], id="right, but behind a foreign one"),
        pytest.param([A], [STALE_SHADOWED], [Replace(A, STALE_SHADOWED)], id="wrong, and behind a foreign one"),
        pytest.param([A], [STALE, SHADOWED], [Replace(A, SHADOWED), Delete(STALE)], id="a wrong one first, the right one behind"),
        pytest.param([A], [installed(A), STALE_SHADOWED], [Delete(STALE_SHADOWED)], id="a wrong one behind a foreign one goes"),
        pytest.param([A], [installed(A), SHADOWED], [], id="seen twice, once shadowed: a delete would take the right one"),
        pytest.param([], [SHADOWED], [Delete(SHADOWED)], id="too much, and shadowed"),
        pytest.param([A, WIDE], [], [Add(A), Add(WIDE)], id="more specific first"),
        pytest.param([A], [installed(WIDE)], [Add(A), Delete(installed(WIDE))], id="the cover goes last"),
        pytest.param([WIDE], [installed(A)], [Add(WIDE), Delete(installed(A))], id="the cover is there first"),
    ],
)
def test_plan_is_the_difference_in_safe_order(desired: list[Route], observed: list[Installed], expected: list[Op]) -> None:
    assert list(plan_routes(desired, observed)) == expected


def test_unreachable_and_ipv6_routes_look_as_the_kernel_shows_them() -> None:
    assert installed(A_OWN) == Installed(A.destination, None, metric=0, type=7)
    assert installed(route("fd00::/122", "2001:db8::2")).metric == 1


@pytest.mark.parametrize(("destination", "pods"), [("10.40.0.1/32", 0), ("fd00::1/128", 1024)])
def test_unreachable_route_of_an_own_block_of_one_address_stands_behind_the_pods_route(destination: str, pods: int) -> None:
    assert installed(route(destination, None)).metric > pods
    assert installed(route(destination, "192.0.2.2" if pods == 0 else "2001:db8::2")).metric <= 1


def test_operations_read_like_ip_route() -> None:
    assert op_text(Add(A)) == "add 10.40.0.0/29 via 192.0.2.2 proto 82"
    assert op_text(Delete(installed(A_OWN))) == "delete 10.40.0.0/29 unreachable proto 82"
    assert op_text(Replace(route("fd00::/122", "fd01::1"), FANCY)) == "replace fd00::/122 via fd01::1 proto 82 metric 1"
