"""Interfaces are deleted early, together, and never somebody else's."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from cni import reaper as module
from cni.reaper import Reaper
from cni.wiring import HostEnd
from romana.errors import Unavailable
from romana.netlink import netns
from romana.netlink.connection import Connection
from romana.netlink.events import LinkGone
from romana.netlink.links import Link
from romana.netlink.pool import Pool
from tests.fakes.cni_node import ip, namespace, opened

pytestmark = pytest.mark.kernel

Answer = TypeVar("Answer")


@pytest.fixture
def node() -> Iterator[str]:
    with namespace("node") as name:
        yield name


def in_node(node: str, work: Callable[[Reaper], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a reaper inside the namespace: on a thread of its own with a loop of its own, whose threads are born there."""

    async def run() -> Answer:
        with Pool() as pool:
            async with Reaper(pool) as reaper:
                return await work(reaper)

    with opened(node) as fd:
        return netns.call_in(fd, lambda: asyncio.run(run()))


def make(node: str, *names: str, mac: str = "ee:ee:ee:ee:ee:ee") -> None:
    for name in names:
        ip("-n", node, "link", "add", name, "address", mac, "type", "veth", "peer", "name", f"p{name[3:]}")


def names(node: str) -> set[str]:
    return {link["ifname"] for link in json.loads(ip("-n", node, "-j", "link"))} - {"lo"}


def nothing() -> None:
    """No preparation."""


def test_both_ends_are_gone_when_remove_returns(node: str) -> None:
    async def work(reaper: Reaper) -> list[set[str]]:
        seen = []
        for number in range(20):
            await asyncio.to_thread(make, node, f"rom{number}")
            assert await reaper.remove(f"rom{number}", "mine", None, nothing) is HostEnd.UNFINISHED
            seen.append(await asyncio.to_thread(names, node))
        return seen

    assert in_node(node, work) == [set()] * 20


def test_many_at_once_are_all_gone_and_others_stay(node: str) -> None:
    make(node, *(f"rom{number}" for number in range(40)))
    make(node, "romforeign", mac="02:00:00:00:00:01")

    async def work(reaper: Reaper) -> list[HostEnd]:
        wanted = [*(f"rom{number}" for number in range(40)), "romforeign", "romabsent"]
        return await asyncio.gather(*(reaper.remove(name, "mine", None, nothing) for name in wanted))

    verdicts = in_node(node, work)
    assert verdicts == [HostEnd.UNFINISHED] * 40 + [HostEnd.FOREIGN, HostEnd.ABSENT]
    assert names(node) == {"romforeign", "pforeign"}


def test_a_burst_needs_few_deletions(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    delete = module._delete

    def counted(here: Connection, links: list[Link]) -> None:
        sizes.append(len(links))
        delete(here, links)

    monkeypatch.setattr(module, "_delete", counted)
    make(node, *(f"rom{number}" for number in range(40)))

    async def work(reaper: Reaper) -> None:
        await asyncio.gather(*(reaper.remove(f"rom{number}", "mine", None, nothing) for number in range(40)))

    in_node(node, work)
    assert sum(sizes) == 40
    assert len(sizes) < 40
    assert names(node) == set()


def test_a_lost_event_costs_only_time(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(gone: LinkGone) -> list[int]:
        indexes(gone)
        return []

    indexes = LinkGone.indexes
    monkeypatch.setattr(LinkGone, "indexes", deaf)
    make(node, "rom1", "rom2")

    async def work(reaper: Reaper) -> list[HostEnd]:
        return [await reaper.remove(name, "mine", None, nothing) for name in ("rom1", "rom2")]

    assert in_node(node, work) == [HostEnd.UNFINISHED] * 2
    assert names(node) == set()


def test_an_interface_that_goes_by_itself_is_gone(node: str) -> None:
    def sabotage() -> None:
        ip("-n", node, "link", "del", "rom1")

    make(node, "rom1")

    async def work(reaper: Reaper) -> HostEnd:
        return await reaper.remove("rom1", "mine", None, sabotage)

    assert in_node(node, work) is HostEnd.ABSENT


def test_a_new_interface_of_the_same_name_is_not_taken_for_the_old_one(node: str) -> None:
    async def work(reaper: Reaper) -> list[HostEnd]:
        found = []
        for _ in range(10):
            await asyncio.to_thread(make, node, "rom1")
            found.append(await reaper.remove("rom1", "mine", None, nothing))
            assert "rom1" not in await asyncio.to_thread(names, node)
        return found

    assert in_node(node, work) == [HostEnd.UNFINISHED] * 10


@pytest.mark.parametrize("error", [Unavailable("rtnetlink does not answer"), KeyError("a bug")])
def test_an_error_reaches_who_waits_and_the_next_one_is_served(
    node: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(here: Connection, links: list[Link]) -> None:
        raise error

    make(node, "rom1")

    async def work(reaper: Reaper) -> HostEnd:
        with monkeypatch.context() as patched:
            patched.setattr(module, "_delete", fail)
            with pytest.raises(type(error)):
                await reaper.remove("rom1", "mine", None, nothing)
        return await reaper.remove("rom1", "mine", None, nothing)

    assert in_node(node, work) is HostEnd.UNFINISHED
    assert names(node) == set()


def test_group_that_the_kernel_refuses_is_deleted_one_by_one(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_delete_together", lambda here, links: False)
    make(node, *(f"rom{number}" for number in range(8)))

    async def work(reaper: Reaper) -> None:
        await asyncio.gather(*(reaper.remove(f"rom{number}", "mine", None, nothing) for number in range(8)))

    in_node(node, work)
    assert names(node) == set()


def test_threads_end_with_it(node: str) -> None:
    before = threading.active_count()

    async def work(reaper: Reaper) -> int:
        return threading.active_count()

    assert in_node(node, work) > before
    assert threading.active_count() == before
