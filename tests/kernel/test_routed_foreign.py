"""Foreign routes in the place of ours: ours is in effect after one sync, and theirs stand as they stood."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from routed.kernel import Kernel
from routed.model import Add, Problem, Replace, Route
from routed.plan import installed, plan_routes
from routed.sync import Table
from tests.fakes.routed_table import FakeTable, foreign_route
from tests.kernel.routed_lab import Lab, Stream, run_inside

pytestmark = pytest.mark.kernel
MAIN = 254


def route(destination: str, next_hop: str | None) -> Route:
    return Route(ip_network(destination), None if next_hop is None else ip_address(next_hop))


REMOTE, MOVED = route("10.40.0.16/28", "192.0.2.2"), route("10.40.0.16/28", "192.0.2.3")
OWN, TAKEN = route("10.40.0.0/28", None), route("10.40.0.0/28", "192.0.2.2")
REMOTE6, OWN6 = route("fd00::40/122", "2001:db8::2"), route("fd00::/122", None)
THEIRS = {wanted.destination: foreign_route(installed(route(str(wanted.destination), "192.0.2.99"))) for wanted in (REMOTE, OWN)}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


class Both:
    """A table, and what others do to it."""

    def __init__(self, table: Table, lab: Lab | None) -> None:
        self.table = table
        self._lab = lab

    def foreign(self, verb: str, wanted: Route) -> None:
        """`ip route VERB <its destination> via 192.0.2.99`, without a protocol."""
        theirs = THEIRS[wanted.destination]
        if self._lab is not None:
            self._lab.ip("route", verb, str(wanted.destination), "via", "192.0.2.99")
        elif isinstance(self.table, FakeTable):
            first = self.table.first(theirs.route.slot)
            if verb == "replace" and first is not None:
                self.table.entries.remove(first)
            self.table.put_first(theirs)

    async def sync(self, *desired: Route) -> tuple[Problem, ...]:
        return await self.table.apply(plan_routes(desired, (await self.table.observe()).routes))

    async def in_effect(self, *desired: Route) -> None:
        """Ours are the first, theirs are there, nothing of ours is too much, and a second sync plans nothing."""
        found = await self.table.observe()
        assert set(found.routes) == set(map(installed, desired))
        assert plan_routes(desired, found.routes) == ()
        assert set(found.foreign) >= set(THEIRS.values())


Scenario = Callable[[Both], Awaitable[None]]


@pytest.fixture(params=["fake", "kernel"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    async def on_kernel(lab: Lab, scenario: Scenario) -> None:
        async with Kernel(MAIN) as kernel:
            await scenario(Both(kernel, lab))

    def on(scenario: Scenario) -> None:
        if request.param == "fake":
            asyncio.run(_awaited(scenario(Both(FakeTable(), None))))
        else:
            lab: Lab = request.getfixturevalue("lab")
            run_inside(lab.n1, lambda: on_kernel(lab, scenario))

    return on


async def _awaited(scenario: Awaitable[None]) -> None:
    await scenario


@pytest.mark.parametrize("verb", ["replace", "prepend"])
def test_ours_is_first_again_after_one_sync(verb: str, play: Callable[[Scenario], None]) -> None:
    async def scenario(both: Both) -> None:
        await both.sync(REMOTE, OWN)
        both.foreign(verb, REMOTE)
        both.foreign(verb, OWN)
        assert await both.sync(REMOTE, OWN) == ()
        await both.in_effect(REMOTE, OWN)

    play(scenario)


@pytest.mark.parametrize("before", [True, False])
def test_change_of_ours_beside_a_foreign_one_leaves_that_one(before: bool, play: Callable[[Scenario], None]) -> None:
    async def scenario(both: Both) -> None:
        if before:
            await both.sync(REMOTE, OWN)
        both.foreign("prepend", REMOTE)
        both.foreign("prepend", OWN)
        if not before:
            await both.sync(REMOTE, OWN)
        for desired in ((MOVED, TAKEN), (REMOTE, OWN), (), (REMOTE, OWN)):
            assert await both.sync(*desired) == ()
            await both.in_effect(*desired)

    play(scenario)


def test_foreign_one_that_came_after_the_plan_was_made_is_not_hit(play: Callable[[Scenario], None]) -> None:
    async def scenario(both: Both) -> None:
        await both.sync(REMOTE, OWN)
        both.foreign("prepend", REMOTE)
        both.foreign("prepend", OWN)
        plan = [Replace(MOVED, installed(REMOTE)), Replace(TAKEN, installed(OWN))]
        assert await both.table.apply(plan) == ()
        await both.in_effect(MOVED, TAKEN)

    play(scenario)


async def on_main(act: Callable[[Kernel], Awaitable[None]]) -> None:
    async with Kernel(MAIN) as kernel:
        await act(kernel)


async def sync(kernel: Kernel, *desired: Route) -> list[str]:
    """Identifiers of what was refused."""
    refused = await kernel.apply(plan_routes(desired, (await kernel.observe()).routes))
    return [problem.id for problem in refused]


def decides(lab: Lab, address: str) -> str:
    """Next hop that the kernel takes for it, or the reason for none."""
    try:
        return lab.ip("route", "get", address).split(" via ")[1].split()[0]
    except RuntimeError as err:
        return str(err)


def test_kernel_lists_an_ipv4_slot_in_the_order_of_precedence_and_uses_ours(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        await sync(kernel, REMOTE, OWN)
        lab.ip("route", "replace", "10.40.0.16/28", "via", "192.0.2.99")
        lab.ip("route", "prepend", "10.40.0.0/28", "via", "192.0.2.98")
        lab.ip("route", "prepend", "10.40.0.0/28", "via", "192.0.2.99")
        assert decides(lab, "10.40.0.17") == decides(lab, "10.40.0.1") == "192.0.2.99"
        assert await sync(kernel, REMOTE, OWN) == []
        assert decides(lab, "10.40.0.17") == "192.0.2.2"
        assert "No route to host" in decides(lab, "10.40.0.1")
        slot = [each for each in lab.routes() if each["dst"] == "10.40.0.0/28"]
        assert [(each.get("gateway"), each.get("protocol")) for each in slot] == [
            (None, "82"),
            ("192.0.2.99", "boot"),
            ("192.0.2.98", "boot"),
        ]

    run_inside(lab.n1, lambda: on_main(act))


def test_foreign_replace_repeated_after_the_repair_is_refused_by_the_kernel(lab: Lab) -> None:
    """The same program doing the same again is no fight: its route is there already, only not first."""

    async def act(kernel: Kernel) -> None:
        await sync(kernel, REMOTE)
        lab.ip("route", "replace", "10.40.0.16/28", "via", "192.0.2.99")
        await sync(kernel, REMOTE)
        with pytest.raises(RuntimeError, match="File exists"):
            lab.ip("route", "replace", "10.40.0.16/28", "via", "192.0.2.99")
        assert decides(lab, "10.40.0.17") == "192.0.2.2"

    run_inside(lab.n1, lambda: on_main(act))


def test_no_packet_is_lost_by_a_repair_or_by_a_change_beside_a_foreign_route(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        await sync(kernel, REMOTE)
        with Stream(lab, "10.40.0.17") as stream:
            for metrics in range(100, 200):
                lab.ip("route", "prepend", "10.40.0.16/28", "via", "192.0.2.3", "mtu", f"1{metrics}")  # n2 too: it delivers
                for desired in (REMOTE, MOVED, REMOTE):
                    assert await sync(kernel, desired) == []
            lost = await asyncio.to_thread(stream.finish)
        assert (lost, stream.errors) == (0, [])
        assert stream.sent > 100
        assert len(lab.routes()) == 1 + 1 + 100

    run_inside(lab.n1, lambda: on_main(act))


def test_altered_route_of_ours_behind_a_foreign_one_is_made_plain_and_first(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        for theirs in (["via", "192.0.2.2", "mtu", "1400"], ["nexthop", "via", "192.0.2.2", "nexthop", "via", "192.0.2.3"]):
            lab.ip("route", "add", "10.40.0.16/28", "proto", "82", *theirs)
            lab.ip("route", "prepend", "10.40.0.16/28", "via", "192.0.2.99")
            assert await sync(kernel, REMOTE) == []
            found = await kernel.observe()
            assert found.routes == (installed(REMOTE),)
            assert decides(lab, "10.40.0.17") == "192.0.2.2"
            lab.ip("route", "flush", "10.40.0.16/28")

    run_inside(lab.n1, lambda: on_main(act))


def ipv6_slot(lab: Lab, destination: str) -> list[tuple[Any, Any, Any]]:
    found = [each for each in lab.routes("-6") if each["dst"] == destination]
    return [(each.get("gateway", each.get("type")), each["protocol"], each["metric"]) for each in found]


def test_foreign_ipv6_route_without_a_metric_stands_behind_ours_from_the_start(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        await sync(kernel, REMOTE6, OWN6)
        for destination in ("fd00::40/122", "fd00::/122"):
            lab.ip("-6", "route", "replace", destination, "via", "2001:db8::99")
        found = await kernel.observe()
        assert plan_routes([REMOTE6, OWN6], found.routes) == ()
        assert lab.ip("-6", "route", "get", "fd00::41").split(" via ")[1].startswith("2001:db8::2 ")
        with pytest.raises(RuntimeError, match="No route to host"):
            lab.ip("-6", "route", "get", "fd00::1")
        assert ipv6_slot(lab, "fd00::40/122") == [("2001:db8::2", "82", 1), ("2001:db8::99", "boot", 1024)]

    run_inside(lab.n1, lambda: on_main(act))


def test_foreign_ipv6_route_at_our_metric_is_a_conflict_and_is_not_touched(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        lab.ip("-6", "route", "add", "fd00::40/122", "via", "2001:db8::99", "metric", "1")
        await sync(kernel, OWN6)
        lab.ip("-6", "route", "append", "fd00::/122", "via", "2001:db8::99", "metric", "1")
        before = ipv6_slot(lab, "fd00::40/122"), ipv6_slot(lab, "fd00::/122")
        (problem,) = await kernel.apply([Add(REMOTE6)])
        assert problem.id == "route-conflict"
        assert "fd00::40/122 via 2001:db8::99 proto 3" in problem.text
        assert await sync(kernel, REMOTE6, route("fd00::/122", "2001:db8::2")) == ["route-conflict"] * 2
        assert (ipv6_slot(lab, "fd00::40/122"), ipv6_slot(lab, "fd00::/122")) == before

    run_inside(lab.n1, lambda: on_main(act))


def test_unreachable_route_of_an_own_block_of_one_address_leaves_the_pods_route_in_effect(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        lab.ip("route", "add", "10.40.0.9/32", "via", "192.0.2.3", "proto", "83")
        wanted = route("10.40.0.9/32", None)
        assert await sync(kernel, wanted) == []
        assert decides(lab, "10.40.0.9") == "192.0.2.3"
        assert plan_routes([wanted], (await kernel.observe()).routes) == ()
        lab.ip("route", "del", "10.40.0.9/32", "proto", "83")
        assert "No route to host" in decides(lab, "10.40.0.9")

    run_inside(lab.n1, lambda: on_main(act))
