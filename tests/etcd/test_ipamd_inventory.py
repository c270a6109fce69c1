"""What ipamd shows of addresses as a whole, and how one stands; by the API and by the command line."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from romana.cli.main import main
from romana.store.api import Store
from romana.store.etcd import EtcdStore
from romana.v1 import ipam_pb2
from tests.etcd.server import EtcdServer
from tests.ipamd import Clock, Running, flat, running, until, write_pod

Romana = Callable[..., tuple[int, str]]
Behind = Callable[..., Any]


def topology() -> dict[str, Any]:
    """Two groups and a network whose document reserves addresses."""
    return {
        "networks": [
            {"name": "pods", "cidr": "10.40.0.0/24", "block_mask": 29, "reserved": ["10.40.0.0/30"]},
            {"name": "six", "cidr": "fd00::/64", "block_mask": 120},
        ],
        "topologies": [
            {
                "networks": ["pods"],
                "map": [
                    {"name": "red", "assignment": {"rack": "red"}},
                    {"name": "blue", "assignment": {"rack": "blue"}},
                    {"name": "green", "assignment": {"rack": "green"}},
                ],
            },
            {"networks": ["six"], "map": [{"name": "everyone"}]},
        ],
    }


async def usage(run: Running) -> ipam_pb2.UsageResponse:
    return await run.ipam(lambda stub, left: stub.Usage(ipam_pb2.UsageRequest(), timeout=left))


async def reserve(run: Running, cidr: str, note: str = "") -> None:
    request = ipam_pb2.ReserveRequest(cidr=cidr, note=note)
    await run.ipam(lambda stub, left: stub.Reserve(request, timeout=left))


async def reservations(run: Running) -> list[ipam_pb2.ReservationEntry]:
    request = ipam_pb2.ListReservationsRequest()
    answer = await run.ipam(lambda stub, left: stub.ListReservations(request, timeout=left))
    return list(answer.reservations)


def numbers(counts: ipam_pb2.AddressCounts) -> tuple[int, ...]:
    """total, allocated, cooling, reserved, free, blocks used, blocks left."""
    addresses = (counts.total, counts.allocated, counts.cooling, counts.reserved, counts.free)
    return (*addresses, counts.blocks_used, counts.blocks_left)


async def test_usage_tells_networks_groups_and_nodes_apart(store: Store) -> None:
    clock = Clock()
    async with running(store, clock=clock) as run:
        assert not (await usage(run)).networks
        await run.apply(topology())
        for name, rack in (("n1", "red"), ("n2", "blue")):
            await run.add_node(name, labels={"rack": rack})
        await until(lambda: not run.ipamd.state.uneven)
        # Half of what the block can give: at three quarters the node would claim another, sooner or later.
        assert [await run.ip("n1", f"c{number}") for number in range(2)] == ["10.40.0.4", "10.40.0.5"]
        await run.release("n1", "c1")
        await reserve(run, "10.40.0.72/29")
        found = await usage(run)
        rows = {row.name: row for row in found.groups}
        assert numbers(rows["red"].counts) == (64, 1, 1, 4, 58, 1, 7)
        assert numbers(rows["blue"].counts) == (64, 0, 0, 8, 56, 1, 6)
        assert (rows["red"].nodes, rows["green"].nodes, rows["red"].path) == (1, 0, "pods/0")
        pods, six = found.networks
        assert numbers(pods.counts) == (192, 1, 1, 12, 178, 2, 21)
        assert (pods.padded, pods.cidr) == (64, "10.40.0.0/24")
        assert six.counts.total == six.counts.free == 2**64 - 1  # saturated: it has 2^64
        nodes = {(row.network, row.node): row for row in found.nodes}
        assert numbers(nodes["pods", "n1"].counts) == (8, 1, 1, 4, 2, 1, 7)
        await run.drain("n2")
        clock.now_s += 3600
        found = await usage(run)
        nodes = {(row.network, row.node): row for row in found.nodes}
        assert numbers(nodes["pods", "n1"].counts) == (8, 1, 0, 4, 3, 1, 7)
        assert nodes["pods", "n2"].draining


async def test_every_usage_agrees_with_itself_while_addresses_come_and_go(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/24"))
        names = ("n1", "n2", "n3")
        for name in names:
            await run.add_node(name)

        async def work(node: str, worker: int) -> None:
            for number in range(12):
                await run.allocate(node, f"c{worker}-{number}")
                if number % 2:
                    await run.release(node, f"c{worker}-{number}")

        working = asyncio.gather(*(work(name, worker) for worker, name in enumerate(names)))
        while not working.done():
            found = await usage(run)
            (group,), (network,) = found.groups, found.networks
            assert numbers(group.counts) == numbers(network.counts)
            for key in ("allocated", "cooling", "blocks_used"):
                assert sum(getattr(row.counts, key) for row in found.nodes) == getattr(network.counts, key)
            assert network.counts.blocks_used + network.counts.blocks_left == 32
            assert sum(numbers(network.counts)[1:5]) == 256
        await working
        counts = (await usage(run)).networks[0].counts
        assert (counts.allocated, counts.cooling) == (18, 18)


async def test_reservations_of_operators_and_of_the_document_are_listed(store: Store) -> None:
    async with running(store) as run:
        await run.apply(topology())
        await reserve(run, "10.40.0.128/32", "the old printer")
        first, second = await reservations(run)
        assert (first.network, first.cidr, first.by_topology, first.HasField("since")) == ("pods", "10.40.0.0/30", True, False)
        assert (second.cidr, second.note, second.confirmed, second.by_topology) == (
            "10.40.0.128/32",
            "the old printer",
            True,
            False,
        )
        assert second.since.ToMilliseconds() > 0


async def test_an_address_cools_until_a_time_and_is_free_after_it(store: Store) -> None:
    clock = Clock()
    async with running(store, cooldown_s=60, clock=clock) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "u1")
        await run.allocate("n1", "c1", ("default", "web", "u1"))
        await run.release("n1", "c1")
        cooling = await run.lookup("10.40.0.0")
        assert cooling.state == ipam_pb2.LOOKUP_STATE_COOLING
        assert cooling.cooling_until.ToMilliseconds() > cooling.released.ToMilliseconds()
        clock.now_s += 60
        free = await run.lookup("10.40.0.0")
        assert free.state == ipam_pb2.LOOKUP_STATE_FREE
        assert (free.pod.name, free.HasField("cooling_until")) == ("web", False)
        assert free.released == cooling.released


async def test_lookup_names_reservations_and_the_ends_of_a_network(store: Store) -> None:
    async with running(store) as run:
        await run.apply(topology())
        await run.add_node("n1", labels={"rack": "red"})
        await reserve(run, "10.40.0.16/28", "printers")
        first = await run.lookup("10.40.0.0")
        assert (first.state, first.reserved_by_topology) == (ipam_pb2.LOOKUP_STATE_RESERVED, True)
        assert (first.first_of_network, first.last_of_network) == (True, False)
        other = await run.lookup("10.40.0.17")
        assert (other.state, other.reservation, other.reservation_note) == (
            ipam_pb2.LOOKUP_STATE_RESERVED,
            "10.40.0.16/28",
            "printers",
        )
        last = await run.lookup("10.40.0.255")
        assert (last.state, last.pad, last.last_of_network) == (ipam_pb2.LOOKUP_STATE_UNCLAIMED, True, True)


@pytest.fixture
def behind() -> Iterator[Behind]:
    """Runs what is asynchronous in a thread of its own, for the command line wants the main one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def romana(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Romana:
    """The command line: exit code and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["romana", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        return code, capsys.readouterr().out

    return call


@pytest.mark.etcd
def test_the_command_line_shows_it_to_people_and_programs(
    shared_etcd: EtcdServer, behind: Behind, romana: Romana, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, clock = f"/inventory-{os.getpid()}/", Clock()

    async def begin() -> tuple[AsyncExitStack, Running]:
        stack = AsyncExitStack()
        store = EtcdStore([shared_etcd.target], prefix)
        stack.push_async_callback(store.close)
        run = await stack.enter_async_context(running(store, cooldown_s=60, clock=clock))
        await run.apply(topology())
        await run.add_node("n1", labels={"rack": "red"})
        await run.add_node("n2", labels={"rack": "blue"})
        await write_pod(store, "default", "web", "u1")
        await run.allocate("n1", "c1", ("default", "web", "u1"))
        await run.allocate("n1", "c2")
        await run.release("n1", "c1")
        await reserve(run, "10.40.0.16/28", "printers")
        return stack, run

    stack, run = behind(begin())
    settings = {"CONFIG": os.devnull, "ETCD_ENDPOINTS": shared_etcd.target, "ETCD_PREFIX": prefix, "IPAM_ENDPOINTS": run.address}
    for name, value in settings.items():
        monkeypatch.setenv(f"ROMANA_{name}", value)
    try:
        _check_show(romana)
        _check_reservations(romana)
        _check_who(romana, clock)
        rows = json.loads(romana("block", "list", "--node", "n1", "--network", "pods", "-o", "json")[1])["blocks"]
        assert [(row["held"], row["reserved"], row["held"] + row["cooling"] + row["free"]) for row in rows] == [(1, 4, 4)]
    finally:
        behind(stack.aclose())


def _check_show(romana: Romana) -> None:
    code, text = romana("ipam", "show")
    assert code == 0
    assert all(word in text for word in ("red", "n2", "fd00::/64", " % "))
    shown = json.loads(romana("ipam", "show", "--node", "n1", "--network", "pods", "-o", "json")[1])
    assert [row["node"] for row in shown["nodes"]] == ["n1"]
    assert [row["name"] for row in shown["groups"]] == ["red"]
    assert [shown["nodes"][0][key] for key in ("allocated", "cooling", "reserved")] == [1, 1, 4]
    assert "n2" not in romana("ipam", "show", "--group", "red")[1]


def _check_reservations(romana: Romana) -> None:
    shown = json.loads(romana("ipam", "reservations", "-o", "json")[1])
    assert [(row["cidr"], row["note"], bool(row["since"])) for row in shown["reservations"]] == [
        ("10.40.0.0/30", "", False),
        ("10.40.0.16/28", "printers", True),
    ]
    assert "printers" in romana("ipam", "reservations")[1]


def _check_who(romana: Romana, clock: Clock) -> None:
    says = {
        "10.40.0.4": "cooling until 20",
        "10.40.0.5": "held",
        "10.40.0.17": "reserved (printers) by 10.40.0.16/28",
        "10.40.0.0": "reserved (the topology) by 10.40.0.0/30",
        "10.40.0.255": "never given out: it lies in a pad",
        "10.41.0.0": "outside every network",
    }
    for ip, begins in says.items():
        code, text = romana("ipam", "who", ip)
        assert text.startswith(f"{ip} is {begins}")
        assert code == (1 if ip == "10.41.0.0" else 0)
        assert json.loads(romana("ipam", "who", ip, "-o", "json")[1])["says"].startswith(begins)
    assert "the network's own, its first address" in romana("ipam", "who", "10.40.0.0")[1]
    clock.now_s += 60
    assert "10.40.0.4 is free (was default/web until 20" in romana("ipam", "who", "10.40.0.4")[1]
