"""The daemon as a process, on a real etcd and a real kernel: nothing that happens to it costs a right route or a packet."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from romana.store.api import Delete
from romana.store.etcd import EtcdStore
from romana.store.opening import prepare
from romana.v1 import store_pb2
from tests.etcd.server import EtcdServer
from tests.fakes.waiting import until
from tests.kernel.routed_lab import Lab, Routed, Stream, block, no_block, node, write

pytestmark = [pytest.mark.kernel, pytest.mark.etcd]

NODES = (node("n1", "192.0.2.1", "2001:db8::1"), node("n2", "192.0.2.2", "2001:db8::2"))
BLOCKS = (block("10.40.0.0/29", "n1"), block("10.40.0.8/29", "n2"), block("fd00::/122", "n1"), block("fd00::40/122", "n2"))
REPAIR_S = 30.0  # below the resync of 60 s, and with room for a busy machine; a quiet one takes some 0.05 s
IPV4 = {"10.40.0.0/29": "unreachable", "10.40.0.8/29": "192.0.2.2"}
IPV6 = {"fd00::/122": "unreachable", "fd00::40/122": "2001:db8::2"}


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    made = EtcdStore([etcd.target])
    await prepare(made, write_schema=True)
    yield made
    for prefix in ("nodes/", "blocks/", "receipts/"):
        await write(made, *(Delete(item.key) for item in (await made.list(prefix)).items))
    await made.close()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def routed(lab: Lab, etcd: EtcdServer, tmp_path: Path) -> Iterator[Routed]:
    """Not started yet."""
    made = Routed(lab, etcd.target, tmp_path)
    yield made
    made.__exit__()


def converged(lab: Lab) -> bool:
    return lab.ours() == IPV4 and lab.ours("-6") == IPV6


async def soon(condition: Callable[[], object], timeout_s: float = 60.0) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    await until(condition, timeout_s, poll_s=0.01)
    return time.monotonic() - began


async def receipt(store: EtcdStore) -> store_pb2.Receipt | None:
    found = await store.get("receipts/n1/routed")
    return None if found is None else store_pb2.Receipt.FromString(found.value)


async def receipt_where(store: EtcdStore, condition: Callable[[store_pb2.Receipt], object]) -> store_pb2.Receipt:
    async with asyncio.timeout(60):
        while True:
            found = await receipt(store)
            if found is not None and condition(found):
                return found
            await asyncio.sleep(0.01)


async def receipt_at(store: EtcdStore, prefix: str, revision: int) -> store_pb2.Receipt:
    return await receipt_where(store, lambda found: found.applied[prefix] >= revision)


async def test_converges_follows_and_says_so(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    revision = await write(store, *NODES, *BLOCKS)
    routed.start()
    await receipt_at(store, "blocks/", revision)
    assert converged(lab)
    revision = await write(store, no_block("10.40.0.8/29"), block("10.40.0.16/29", "n2"))
    found = await receipt_at(store, "blocks/", revision)
    assert lab.ours() == {"10.40.0.0/29": "unreachable", "10.40.0.16/29": "192.0.2.2"}
    assert (found.backend, list(found.problems)) == ("netlink", [])


async def test_second_plan_is_empty_and_dry_run_changes_nothing(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    await write(store, *NODES, *BLOCKS)
    planned = await asyncio.to_thread(routed.once, "--dry-run")
    assert sorted(planned.splitlines())[:2] == [
        "add 10.40.0.0/29 unreachable proto 82",
        "add 10.40.0.8/29 via 192.0.2.2 proto 82",
    ]
    assert lab.ours() == {}
    await asyncio.to_thread(routed.once, "--once")
    assert converged(lab)
    assert await asyncio.to_thread(routed.once, "--dry-run") == ""


async def test_foreign_delete_and_replace_are_repaired_at_once(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    await write(store, *NODES, *BLOCKS)
    routed.start()
    await soon(lambda: converged(lab))
    for command in (
        "route del 10.40.0.8/29",
        "route del unreachable 10.40.0.0/29",
        "-6 route del fd00::40/122",
        "route replace 10.40.0.8/29 via 192.0.2.3 proto 82",
        "route replace blackhole 10.40.0.8/29 proto 82",
        "-6 route replace unreachable fd00::40/122 proto 82",
        "route add 10.99.0.0/24 via 192.0.2.3 proto 82",
        "route flush proto 82",
    ):
        await asyncio.sleep(0.3)
        lab.ip(*command.split())
        assert await soon(lambda: converged(lab)) < REPAIR_S, command


def foreign(lab: Lab) -> list[tuple[str, str]]:
    """Destination and next hop of what others have put in."""
    found = [route for route in lab.routes() if route["protocol"] in ("static", "boot")]
    return sorted((route["dst"], str(route.get("gateway", route.get("type")))) for route in found)


async def test_foreign_routes_are_left_alone_and_one_in_our_place_is_reported(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    for destination in ("10.40.0.8/29", "10.40.0.9", "10.77.0.0/16"):
        lab.ip("route", "add", destination, "via", "192.0.2.3", "proto", "static")
    before = foreign(lab)
    revision = await write(store, *NODES, *BLOCKS)
    routed.start()
    found = await receipt_at(store, "blocks/", revision)
    assert [problem.id for problem in found.problems] == ["foreign-route"]
    assert "10.40.0.8/29 via 192.0.2.3 proto 4" in found.problems[0].text
    assert " via 192.0.2.2 " in lab.ip("route", "get", "10.40.0.10")
    assert lab.ours("-6") == IPV6
    assert foreign(lab) == before
    lab.ip("route", "del", "10.40.0.8/29", "proto", "static")
    await receipt_where(store, lambda found: not found.problems)
    routed.stop()
    assert (foreign(lab), lab.ours()) == (before[1:], IPV4)


async def test_foreign_routes_put_over_ours_are_behind_them_at_once(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    """No protocol is given, as by somebody who knows nothing of us; n2 has no address 192.0.2.99, so packets go astray."""
    await write(store, *NODES, *BLOCKS)
    routed.start()
    await soon(lambda: converged(lab))

    def in_effect() -> bool:
        first: dict[str, str] = {}
        for route in lab.routes():
            first.setdefault(route["dst"], str(route.get("gateway", route.get("type"))))
        return IPV4.items() <= first.items() and converged(lab)

    for number, command in enumerate(
        (
            "route replace 10.40.0.8/29 via 192.0.2.99",
            "route replace 10.40.0.0/29 via 192.0.2.99",
            "route prepend 10.40.0.8/29 via 192.0.2.98",
            "route prepend blackhole 10.40.0.8/29",
            "route prepend 10.40.0.0/29 via 192.0.2.98",
            "-6 route replace fd00::40/122 via 2001:db8::99",
        ),
        start=1,
    ):
        await asyncio.sleep(0.3)
        lab.ip(*command.split())
        assert await soon(in_effect) < REPAIR_S, command
        assert len(foreign(lab)) == min(number, 5), command
    with Stream(lab, "10.40.0.10") as stream:
        await asyncio.sleep(0.2)
        assert (await asyncio.to_thread(stream.finish), stream.errors) == (0, [])
    found = await receipt_where(store, lambda found: len(found.problems) == 5)
    assert {problem.id for problem in found.problems} == {"foreign-route"}
    assert set(found.applied) == {"nodes/", "blocks/"}
    assert await asyncio.to_thread(routed.once, "--dry-run") == ""


async def test_wiped_etcd_costs_no_route(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    await write(store, *NODES, *BLOCKS)
    routed.start()
    await soon(lambda: converged(lab))
    await write(store, *(Delete(put.key) for put in (*NODES, *BLOCKS)))
    found = await receipt_where(store, lambda found: found.problems)
    assert [problem.id for problem in found.problems] == ["store-empty"]
    assert converged(lab)
    revision = await write(store, *NODES, *BLOCKS[1:])
    found = await receipt_where(store, lambda found: found.applied.get("blocks/", 0) >= revision)
    assert (lab.ours(), list(found.problems)) == ({"10.40.0.8/29": "192.0.2.2"}, [])


async def test_link_that_was_down_gets_its_routes_back(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    await write(store, *NODES, block("10.40.0.8/29", "n2"))
    routed.start()
    await soon(lambda: "10.40.0.8/29" in lab.ours())
    lab.ip("link", "set", "eth0", "down")
    assert lab.ours() == {}
    await asyncio.sleep(1)
    lab.ip("link", "set", "eth0", "up")
    assert await soon(lambda: "10.40.0.8/29" in lab.ours()) < REPAIR_S


async def test_sigterm_ends_cleanly_leaves_the_routes_and_takes_the_receipt(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    revision = await write(store, *NODES, *BLOCKS)
    routed.start()
    await receipt_at(store, "blocks/", revision)
    assert await asyncio.to_thread(routed.stop) == 0
    assert converged(lab)
    assert await receipt(store) is None
    assert not [line for line in routed.logged() if line["level"] in ("WARNING", "ERROR")]


async def test_killed_in_the_middle_it_goes_on_without_removing_a_right_route(lab: Lab, store: EtcdStore, routed: Routed) -> None:
    wanted = [f"10.50.{number // 32}.{number % 32 * 8}/29" for number in range(1000)]
    await write(store, *NODES, *(block(cidr, "n2") for cidr in wanted))
    with lab.monitor() as monitor:
        for enough in (50, 400, 1000):
            routed.start()
            await soon(partial(lambda count: len(lab.ours()) >= count, enough))
            routed.stop(signal.SIGKILL)
        routed.start()
        await soon(routed.synced)
        monitor.terminate()
        seen, _ = monitor.communicate()
    assert set(lab.ours()) == set(wanted)
    assert seen.count("via 192.0.2.2") >= 1000
    assert "Deleted" not in seen


async def test_no_packet_is_lost_by_restarts_or_by_blocks_that_come_go_and_move(
    lab: Lab, store: EtcdStore, routed: Routed
) -> None:
    await write(store, *NODES, *BLOCKS)
    routed.start()
    await soon(lambda: converged(lab))
    with Stream(lab, "10.40.0.9") as stream:
        for number, end in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
            await asyncio.to_thread(routed.stop, end)
            routed.start()
            others = [f"10.60.{number}.{part * 8}/29" for part in range(32)]
            await receipt_at(store, "blocks/", await write(store, *(block(cidr, "n2") for cidr in others)))
            moved = node("n2", "192.0.2.3" if number % 2 == 0 else "192.0.2.2", "2001:db8::2")
            await receipt_at(store, "nodes/", await write(store, moved))  # the next hop of all routes changes, in place
            await receipt_at(store, "blocks/", await write(store, *(no_block(cidr) for cidr in others)))
        lost = await asyncio.to_thread(stream.finish)
    assert lab.ours() == {**IPV4, "10.40.0.8/29": "192.0.2.3"}
    assert stream.errors == []
    assert lost == 0
    assert stream.sent > 1000


async def test_etcd_away_costs_no_route_and_no_restart(lab: Lab, tmp_path: Path) -> None:
    with EtcdServer() as own, Routed(lab, own.target, tmp_path) as routed:
        store = EtcdStore([own.target])
        await prepare(store, write_schema=True)
        await write(store, *NODES, *BLOCKS)
        await soon(lambda: converged(lab))
        own.kill()
        lab.ip("route", "del", "10.40.0.8/29")
        assert await soon(lambda: converged(lab)) < REPAIR_S  # drift is repaired from what was heard last
        routed.stop(signal.SIGKILL)
        routed.start()  # it now starts without etcd
        await asyncio.sleep(2)
        assert converged(lab)
        await asyncio.to_thread(own.start)
        await write(store, no_block("10.40.0.8/29"))
        await soon(lambda: set(lab.ours()) == {"10.40.0.0/29"})
        await store.close()


async def test_two_thousand_blocks_are_measured(
    lab: Lab, store: EtcdStore, routed: Routed, record_property: Callable[[str, object], None]
) -> None:
    wanted = [f"10.50.{number // 32}.{number % 32 * 8}/29" for number in range(2000)]
    await write(store, *NODES, *(block(cidr, "n2") for cidr in wanted))
    for name in ("first_sync_ms", "second_sync_ms"):
        routed.start()
        await soon(routed.synced)
        await asyncio.to_thread(routed.stop)
        (line,) = routed.synced()
        record_property(name, line["took_ms"])
        print(name, line["took_ms"])
        routed.forget_log()
    assert set(lab.ours()) == set(wanted)
