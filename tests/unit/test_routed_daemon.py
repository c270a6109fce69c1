"""The daemon on a store in memory and a table in memory: what it does to routes, and what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest

from romana import keys
from romana.names import ROUTE_PROTOCOL_ROUTED
from romana.reconcile import Pace, Source
from romana.store.api import Delete, Put
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from routed.daemon import main, serve
from routed.model import Installed, Route
from routed.plan import installed
from routed.wire import KernelRoute
from tests.fakes.routed_table import FakeTable, foreign_route
from tests.fakes.waiting import until

QUICK = Pace(resync_s=60, rest_s=0, backoff_s=0.001, backoff_cap_s=0.01)
B1, B2, B6 = IPv4Network("10.40.0.0/29"), IPv4Network("10.40.0.8/29"), IPv6Network("fd00::/122")
OWN, REMOTE = installed(Route(B1, None)), installed(Route(B2, ip_address("192.0.2.2")))
THEIRS = foreign_route(installed(Route(B2, ip_address("192.0.2.9"))))


def node(name: str, address: str) -> Put:
    value = store_pb2.Node(name=name, uid=f"uid-{name}", addresses=[address]).SerializeToString()
    return Put(keys.node(name), value)


def block(cidr: IPv4Network | IPv6Network, owner: str) -> Put:
    return Put(keys.block("pods", cidr), store_pb2.Block(node=owner, node_uid=f"uid-{owner}").SerializeToString())


async def filled() -> MemoryStore:
    store = MemoryStore()
    await store.txn([], [node("n1", "192.0.2.1"), node("n2", "192.0.2.2"), block(B1, "n1"), block(B2, "n2")])
    return store


@asynccontextmanager
async def routed(store: MemoryStore, table: FakeTable) -> AsyncIterator[None]:
    task = asyncio.create_task(serve("n1", store, table, Source("kernel", table.events), QUICK))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def receipt_where(store: MemoryStore, condition: Callable[[store_pb2.Receipt], object]) -> store_pb2.Receipt:
    async with asyncio.timeout(5):
        while True:
            found = await store.get("receipts/n1/routed")
            if found is not None and condition(receipt := store_pb2.Receipt.FromString(found.value)):
                return receipt
            await asyncio.sleep(0.001)


def has(table: FakeTable, *routes: Installed) -> Callable[[], bool]:
    return lambda: set(table.routes) == set(routes)


async def test_routes_follow_the_store() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        await store.txn([], [Delete(keys.block("pods", B2))])
        await until(has(table, OWN))
        await store.txn([], [block(B2, "n2"), node("n2", "192.0.2.22")])
        await until(has(table, OWN, installed(Route(B2, ip_address("192.0.2.22")))))


async def test_receipt_names_the_revisions_that_are_in_the_kernel() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        found = await receipt_where(store, lambda receipt: True)
        assert set(found.applied) == {"nodes/", "blocks/"}
        written = await store.txn([], [Delete(keys.block("pods", B2))])
        await receipt_where(store, lambda receipt: receipt.applied["blocks/"] == written.revision)
        assert set(table.routes) == {OWN}


async def test_store_that_never_answers_leaves_all_routes_alone() -> None:
    store, table = MemoryStore(), FakeTable([REMOTE])
    store.fail()
    async with routed(store, table):
        await asyncio.sleep(0.05)
    assert table.plans == []
    assert table.routes == [REMOTE]


async def test_routes_stay_when_the_daemon_ends_and_right_ones_are_not_touched_when_it_starts() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
    assert has(table, OWN, REMOTE)()
    again = FakeTable(table.routes)
    async with routed(store, again):
        await receipt_where(store, lambda receipt: True)
    assert again.plans == [()]


async def test_foreign_change_is_repaired() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        table.interfere(entry for entry in table.entries if entry.route != REMOTE)
        await until(has(table, OWN, REMOTE))


@pytest.mark.parametrize("keeps_ours", [True, False], ids=["prepended", "replaced"])
async def test_foreign_route_in_our_place_stays_behind_ours_is_told_once_and_holds_nothing_back(
    keeps_ours: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        ours = [entry for entry in table.entries if keeps_ours or entry.route != REMOTE]
        table.interfere([THEIRS, *ours])
        found = await receipt_where(store, lambda receipt: receipt.problems)
        assert [problem.id for problem in found.problems] == ["foreign-route"]
        assert has(table, OWN, REMOTE)()
        assert table.first(REMOTE.slot) == KernelRoute(REMOTE, 254, ROUTE_PROTOCOL_ROUTED)
        assert table.foreign == [THEIRS]

        written = await store.txn([], [Delete(keys.block("pods", B1))])
        await receipt_where(store, lambda receipt: receipt.applied["blocks/"] == written.revision)
        assert sum(record.message == "foreign routes in the place of ours" for record in caplog.records) == 1
        count = len(table.plans)
        table.interfere(table.entries)
        await until(lambda: len(table.plans) > count)
        assert table.plans[-1] == ()

        table.interfere(entry for entry in table.entries if entry != THEIRS)
        await receipt_where(store, lambda receipt: not receipt.problems)


async def test_refused_route_is_a_problem_holds_the_receipt_back_and_is_tried_again() -> None:
    store, table = await filled(), FakeTable(foreign=[foreign_route(installed(Route(B6, ip_address("2001:db8::9"))))])
    await store.txn([], [block(B6, "n1")])
    async with routed(store, table):
        found = await receipt_where(store, lambda receipt: receipt.problems)
        assert [problem.id for problem in found.problems] == ["route-conflict"]
        assert dict(found.applied) == {}
        assert set(table.routes) == {OWN, REMOTE}
        table.interfere(entry for entry in table.entries if entry not in table.foreign)
        found = await receipt_where(store, lambda receipt: not receipt.problems)
        assert set(found.applied) == {"nodes/", "blocks/"}
        assert set(table.routes) == {OWN, REMOTE, installed(Route(B6, None))}


async def test_store_that_was_wiped_costs_no_route_and_is_a_problem() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        store.restore({})
        found = await receipt_where(store, lambda receipt: receipt.problems)
        assert [problem.id for problem in found.problems] == ["store-empty"]
        assert dict(found.applied) == {}
        assert has(table, OWN, REMOTE)()
        store.restore({put.key: put.value for put in (node("n1", "192.0.2.1"), block(B1, "n1"))})
        await until(has(table, OWN))
        await receipt_where(store, lambda receipt: receipt.applied and not receipt.problems)


async def test_broken_netlink_is_retried() -> None:
    store, table = await filled(), FakeTable()
    table.broken = True
    async with routed(store, table):
        await asyncio.sleep(0.02)
        assert table.routes == []
        table.broken = False
        await until(has(table, OWN, REMOTE))


async def test_store_away_for_a_while_costs_no_route() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        store.fail()
        await asyncio.sleep(0.02)
        assert has(table, OWN, REMOTE)()
        store.mend()
        await store.txn([], [Delete(keys.block("pods", B2))])
        await until(has(table, OWN))


async def test_restored_store_is_listed_again() -> None:
    store, table = await filled(), FakeTable()
    async with routed(store, table):
        await until(has(table, OWN, REMOTE))
        store.restore({put.key: put.value for put in (node("n1", "192.0.2.1"), block(B1, "n1"))})
        await until(has(table, OWN))


@pytest.mark.parametrize("text", ["[node]\nname = 'No_Name'\n", "[routed]\ntable = 0\n", "not toml"])
def test_wrong_configuration_ends_with_2_and_says_why(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    assert main(["--config", str(file)]) == 2
    assert capsys.readouterr().err
