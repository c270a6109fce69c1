"""The kernel's table and the fake one pass the same tests; then what only the kernel can show."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest

from routed.kernel import Kernel
from routed.model import Add, Delete, Replace, Route
from routed.monitor import watch_kernel
from routed.plan import installed, plan_routes
from routed.sync import Table
from tests.fakes.routed_table import FakeTable
from tests.fakes.waiting import until
from tests.kernel.routed_lab import Lab, run_inside

pytestmark = pytest.mark.kernel
MAIN, OTHER = 254, 1000  # an unused table does not exist before its first route


def route(destination: str, next_hop: str | None) -> Route:
    return Route(ip_network(destination), None if next_hop is None else ip_address(next_hop))


FIRST = {
    route("10.40.0.0/29", None),
    route("10.40.0.8/29", "192.0.2.2"),
    route("10.40.0.16/29", "192.0.2.2"),
    route("fd00::/122", None),
    route("fd00::40/122", "2001:db8::2"),
}
SECOND = {
    route("10.40.0.0/29", "192.0.2.3"),
    route("10.40.0.8/29", None),
    route("10.40.0.0/24", "192.0.2.2"),
    route("fd00::/122", "2001:db8::2"),
    route("fd00::40/122", None),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


Scenario = Callable[[Table], Awaitable[None]]


@pytest.fixture(params=["fake", "main", "other"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario on a fake table, or on one of the kernel's."""

    async def on_kernel(scenario: Scenario) -> None:
        async with Kernel(MAIN if request.param == "main" else OTHER) as kernel:
            await scenario(kernel)
            await kernel.apply([Delete(old) for old in (await kernel.observe()).routes])

    def on(scenario: Scenario) -> None:
        if request.param == "fake":
            asyncio.run(_awaited(scenario(FakeTable())))
        else:
            run_inside(request.getfixturevalue("lab").n1, lambda: on_kernel(scenario))

    return on


async def _awaited(scenario: Awaitable[None]) -> None:
    await scenario


async def converge(table: Table, desired: set[Route]) -> None:
    assert await table.apply(plan_routes(desired, (await table.observe()).routes)) == ()
    assert set((await table.observe()).routes) == set(map(installed, desired))
    assert plan_routes(desired, (await table.observe()).routes) == ()


def test_plan_applied_is_what_is_observed_and_the_second_plan_is_empty(play: Callable[[Scenario], None]) -> None:
    async def scenario(table: Table) -> None:
        assert (await table.observe()).routes == ()
        for desired in (FIRST, SECOND, FIRST, set[Route]()):
            await converge(table, desired)

    play(scenario)


def test_add_over_an_existing_route_goes_before_it_in_ipv4_and_is_a_conflict_in_ipv6(play: Callable[[Scenario], None]) -> None:
    async def scenario(table: Table) -> None:
        there, other = route("10.40.0.0/29", "192.0.2.2"), route("10.40.0.0/29", None)
        assert await table.apply([Add(there), Add(other)]) == ()
        assert (await table.observe()).routes == (installed(other), installed(there))
        there6, other6 = route("fd00::/122", "2001:db8::2"), route("fd00::/122", None)
        assert [problem.id for problem in await table.apply([Add(there6), Add(other6)])] == ["route-conflict"]
        assert (await table.observe()).routes[2:] == (installed(there6),)
        await converge(table, {other, there6})

    play(scenario)


def test_add_of_what_is_there_already_as_wanted_is_no_conflict(play: Callable[[Scenario], None]) -> None:
    async def scenario(table: Table) -> None:
        wanted = [Add(found) for found in sorted(FIRST, key=str)]
        assert await table.apply(wanted) == ()
        assert await table.apply(wanted) == ()
        assert set((await table.observe()).routes) == set(map(installed, FIRST))

    play(scenario)


def test_replace_of_a_route_that_is_gone_makes_it(play: Callable[[Scenario], None]) -> None:
    async def scenario(table: Table) -> None:
        wanted = route("10.40.0.0/29", None)
        assert await table.apply([Replace(wanted, installed(wanted))]) == ()
        assert (await table.observe()).routes == (installed(wanted),)

    play(scenario)


async def on_main(act: Callable[[Kernel], Awaitable[None]]) -> None:
    async with Kernel(MAIN) as kernel:
        await act(kernel)
        await kernel.apply([Delete(old) for old in (await kernel.observe()).routes])


def test_route_that_others_altered_is_made_plain_again(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        desired = {route("10.40.0.8/29", "192.0.2.2"), route("fd00::/122", "2001:db8::2")}
        await converge(kernel, desired)
        lab.ip("route", "append", "10.40.0.8/29", "via", "192.0.2.3", "proto", "82")
        lab.ip("route", "add", "10.40.0.8/29", "via", "192.0.2.3", "proto", "82", "metric", "5")
        lab.ip("route", "add", "10.40.0.16/29", "proto", "82", "nexthop", "via", "192.0.2.2", "nexthop", "via", "192.0.2.3")
        lab.ip("route", "replace", "blackhole", "10.40.1.0/24", "proto", "82")
        lab.ip("-6", "route", "append", "fd00::/122", "via", "2001:db8::3", "proto", "82", "metric", "1")
        lab.ip("-6", "route", "add", "fd00::/122", "via", "2001:db8::2", "proto", "82")
        lab.ip("-6", "route", "add", "unreachable", "fd00:1::/64", "proto", "82", "metric", "7")
        await converge(kernel, desired)

    run_inside(lab.n1, lambda: on_main(act))


def test_routes_of_others_are_no_routes_of_ours_and_are_not_touched(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        lab.ip("route", "add", "10.40.0.9/32", "via", "192.0.2.3", "proto", "83")
        before = lab.routes()
        assert (await kernel.observe()).routes == ()
        await converge(kernel, {route("10.40.0.8/29", "192.0.2.2")})
        await converge(kernel, set())
        assert lab.routes() == before

    run_inside(lab.n1, lambda: on_main(act))
    lab.ip("route", "del", "10.40.0.9/32")


def test_refused_route_is_named_and_does_not_keep_others_out(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        good, bad = route("10.40.0.0/24", None), route("10.40.0.8/29", "203.0.113.1")
        (problem,) = await kernel.apply(plan_routes([good, bad], ()))
        assert problem.id == "route-apply-failed"
        assert "10.40.0.8/29 via 203.0.113.1" in problem.text
        assert "ENETUNREACH" in problem.text
        assert (await kernel.observe()).routes == (installed(good),)
        gone = installed(bad)
        assert await kernel.apply([Delete(gone)]) == ()  # what is gone already is no problem

    run_inside(lab.n1, lambda: on_main(act))


def test_monitor_tells_foreign_changes_and_links_but_not_our_own(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        await kernel.observe()
        heard: list[None] = []

        async def listen() -> None:
            async for event in watch_kernel(lambda: kernel.port):
                heard.append(event)  # noqa: PERF401 - it never ends

        async def hears(*command: str) -> None:
            before = len(heard)
            lab.ip(*command)
            await until(lambda: len(heard) > before)

        task = asyncio.create_task(listen())
        await until(lambda: len(heard) == 1)
        desired = [route("10.40.0.8/29", "192.0.2.2"), route("fd00::/122", None)]
        await kernel.apply(plan_routes(desired, ()))
        lab.ip("route", "add", "10.40.0.9/32", "via", "192.0.2.2", "proto", "83")
        lab.ip("link", "add", "rom0123456789ab", "type", "veth", "peer", "name", "rom0123456789ac")
        lab.ip("link", "del", "rom0123456789ab")
        await asyncio.sleep(0.1)
        assert len(heard) == 1
        await hears("route", "del", "10.40.0.8/29", "proto", "82")
        await hears("-6", "route", "del", "fd00::/122", "proto", "82")
        await hears("link", "set", "eth0", "down")
        await hears("link", "set", "eth0", "up")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        run_inside(lab.n1, lambda: on_main(act))
    finally:
        lab.ip("addr", "replace", "2001:db8::1/64", "dev", "eth0", "nodad")  # it went with the link


def test_lost_events_count_as_a_change(lab: Lab) -> None:
    async def act(_: Kernel) -> None:
        stream = watch_kernel(lambda: 0)
        await anext(stream)
        each = [f"10.{number // 250}.{number % 250}.0/24 via 192.0.2.2 proto 83\n" for number in range(5000)]
        lab.batch("".join(f"route add {route}" for route in each))  # nobody reads: the socket's buffer overflows
        await asyncio.wait_for(anext(stream), 5)  # not for the routes themselves: those of protocol 83 do not concern us
        lab.batch("".join(f"route del {route}" for route in each))

    run_inside(lab.n1, lambda: on_main(act))


def test_socket_that_broke_is_opened_anew(lab: Lab) -> None:
    async def act(kernel: Kernel) -> None:
        wanted = route("10.40.0.8/29", "192.0.2.2")
        task = asyncio.create_task(kernel.apply([Add(wanted)] * 50))
        await asyncio.sleep(0.005)
        task.cancel()  # in the middle of a conversation
        await asyncio.gather(task, return_exceptions=True)
        assert kernel.port == 0
        await converge(kernel, {wanted})

    run_inside(lab.n1, lambda: on_main(act))
