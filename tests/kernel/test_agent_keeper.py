"""Host routes and permanent neighbours come back, whatever took them; nothing of others is touched."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.cni_node import Node, a_node, ip, namespace, pings, until

pytestmark = pytest.mark.kernel

REPAIR_S = 3.0
"""Generous: the keeper takes about a tenth of a second on an idle machine."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def added(node: Node, pod: str) -> tuple[str, str]:
    """Host interface and address of a new pod."""
    result = (await node.cni("ADD", pod)).json
    return result["interfaces"][0]["name"], result["ips"][0]["address"].split("/")[0]


def is_whole(node: Node, interface: str, address: str) -> Callable[[], bool]:
    def whole() -> bool:
        neighbours: list[dict[str, Any]] = json.loads(
            ip("-n", node.name, "-j", "neigh", "show", "dev", interface, "nud", "permanent")
        )
        return address in node.routes() and [entry["dst"] for entry in neighbours] == [address]

    return whole


SABOTAGE = {
    "route deleted": ("route del ADDRESS",),
    "neighbour deleted": ("neigh del ADDRESS dev HOST",),
    "neighbour no longer permanent": ("neigh replace ADDRESS lladdr 02:00:00:00:00:01 nud stale dev HOST",),
    "interface set down and up": ("link set HOST down", "link set HOST up"),
}


def sabotage(node: Node, how: str, interface: str, address: str) -> None:
    for command in SABOTAGE[how]:
        ip("-n", node.name, *command.replace("ADDRESS", address).replace("HOST", interface).split())


@pytest.mark.parametrize("how", SABOTAGE)
async def test_loss_is_repaired_at_once(node: Node, pod: str, how: str) -> None:
    interface, address = await added(node, pod)
    whole = is_whole(node, interface, address)
    assert whole()
    sabotage(node, how, interface, address)
    await until(whole, REPAIR_S)
    assert await pings(node.name, address)


@pytest.mark.parametrize("how", SABOTAGE)
async def test_loss_while_no_agent_runs_is_repaired_at_its_start(node: Node, pod: str, how: str) -> None:
    interface, address = await added(node, pod)
    await node.kill_agent()
    sabotage(node, how, interface, address)
    assert not is_whole(node, interface, address)()
    await node.start_agent()
    await until(is_whole(node, interface, address), REPAIR_S)
    assert await pings(node.name, address)


async def test_foreign_route_in_the_way_stays_and_ours_comes_when_it_goes(node: Node, pod: str) -> None:
    interface, address = await added(node, pod)
    ip("-n", node.name, "route", "replace", f"{address}/32", "dev", "up0")
    ip("-n", node.name, "neigh", "del", address, "dev", interface)  # wakes the keeper
    await until(lambda: "foreign route stands" in node.log.read_text(), REPAIR_S)
    assert "dev up0" in ip("-n", node.name, "route", "show", address)
    ip("-n", node.name, "route", "del", f"{address}/32", "dev", "up0")
    await until(is_whole(node, interface, address), REPAIR_S)


async def test_deleted_attachment_is_kept_no_more(node: Node, pod: str) -> None:
    interface, _ = await added(node, pod)
    assert len(node.records) == 1
    assert (await node.cni("DEL", pod)).status == 0
    assert not node.records
    ip("-n", node.name, "link", "add", interface, "address", "ee:ee:ee:ee:ee:ee", "type", "veth", "peer", "name", "other1")
    ip("-n", node.name, "link", "set", interface, "alias", f"romana:romana/{pod}/eth0", "up")
    await asyncio.sleep(0.5)
    assert not node.routes()
    ip("-n", node.name, "link", "del", interface)


async def test_record_goes_with_the_pods_namespace(node: Node) -> None:
    with namespace("pod") as pod:
        await added(node, pod)
        assert len(node.records) == 1
    await until(lambda: not node.interfaces())
    await node.kill_agent()
    node.settings["stale_after_s"] = 0.3
    await node.start_agent()
    await until(lambda: not node.records, 60)


async def test_storm_of_losses_and_dels_ends_clean(node: Node) -> None:
    for _ in range(6):
        with namespace("pod") as pod:
            interface, address = await added(node, pod)
            sabotage(node, "interface set down and up", interface, address)
            assert (await node.cni("DEL", pod)).status == 0
            await node.cleaned()
    await asyncio.sleep(0.3)
    await node.cleaned()
    assert node.agent
    assert node.agent.returncode is None
