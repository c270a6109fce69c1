"""CHECK passes after ADD and names whatever was broken since."""

import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.cni_node import Node, Ran, a_node, ip, namespace

pytestmark = pytest.mark.kernel


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def add(node: Node, pod: str, version: str = "1.0.0") -> dict[str, Any]:
    return (await node.cni("ADD", pod, conf={"cniVersion": version})).json


async def check(node: Node, pod: str, result: dict[str, Any], **more: str) -> Ran:
    return await node.cni("CHECK", pod, conf={"cniVersion": result["cniVersion"], "prevResult": result}, **more)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
async def test_check_passes_right_after_add(node: Node, pod: str, version: str) -> None:
    ran = await check(node, pod, await add(node, pod, version))
    assert (ran.status, ran.stdout) == (0, b"")


async def test_what_later_plugins_add_is_no_difference(node: Node, pod: str) -> None:
    result = await add(node, pod)
    ip("-n", pod, "address", "add", "192.0.2.7/24", "dev", "eth0")
    ip("-n", pod, "route", "add", "198.51.100.0/24", "dev", "eth0")
    ip("-n", pod, "link", "add", "extra0", "type", "veth", "peer", "name", "extra1")
    result["interfaces"].append({"name": "extra0", "sandbox": result["interfaces"][1]["sandbox"]})
    result["ips"].append({"interface": 2, "address": "192.0.2.9/24"})
    assert (await check(node, pod, result)).status == 0


SABOTAGE = {
    "pod interface eth0 is missing": ("-n POD link del eth0",),
    "pod interface eth0 is down": ("-n POD link set eth0 down",),
    "pod interface eth0 has MAC 02:00:00:00:00:01": ("-n POD link set eth0 address 02:00:00:00:00:01",),
    "address 10.40.0.1/32 is missing": ("-n POD address del 10.40.0.1/32 dev eth0",),
    "route 0.0.0.0/0 via 169.254.1.1 is missing": ("-n POD route del default",),
    "route 169.254.1.1/32 on eth0 is missing": ("-n POD route del 169.254.1.1",),
    "host interface rom": ("-n NODE link del HOST",),
    "has MTU 1300, eth0 has 1400": ("-n NODE link set HOST mtu 1300",),
    "has MTU 1400, eth0 has 1300": ("-n POD link set eth0 mtu 1300",),
    "has rp_filter 0, must be 1": ("netns exec NODE sh -c 'echo 0 >/proc/sys/net/ipv4/conf/HOST/rp_filter'",),
    "permanent neighbour 169.254.1.1": ("-n POD neigh del 169.254.1.1 dev eth0",),
    "is down": ("-n NODE link set HOST down",),
    "has MAC 02:00:00:00:00:02": ("-n NODE link set HOST address 02:00:00:00:00:02",),
    "host route 10.40.0.1/32 is missing": ("-n NODE route del 10.40.0.1/32",),
    "host route 10.40.0.1/32 is on another interface": ("-n NODE route replace 10.40.0.1/32 dev up0",),
    "permanent neighbour 10.40.0.1 is missing on rom": ("-n NODE neigh del 10.40.0.1 dev HOST",),
}


async def keep_nothing(node: Node) -> None:
    """Have the agent forget what it keeps, so that what a test breaks stays broken."""
    await node.kill_agent()
    for key in node.records:
        node.note("forget", key)
    await node.start_agent()


@pytest.mark.parametrize("named", SABOTAGE)
async def test_each_sabotage_is_named_and_check_repairs_nothing(node: Node, pod: str, named: str) -> None:
    result = await add(node, pod)
    await keep_nothing(node)
    for command in SABOTAGE[named]:
        words = command.replace("POD", pod).replace("NODE", node.name).replace("HOST", result["interfaces"][0]["name"])
        ip(*shlex.split(words))
    for _ in range(2):
        ran = await check(node, pod, result)
        assert (ran.status, ran.json["code"]) == (1, 102), (ran.json, node.log.read_text())
        assert named in ran.json["msg"]


async def test_mtu_that_the_result_tells_is_compared(node: Node, pod: str) -> None:
    result = await add(node, pod, "1.1.0")
    host = result["interfaces"][0]["name"]
    ip("-n", pod, "link", "set", "eth0", "mtu", "1300")
    ip("-n", node.name, "link", "set", host, "mtu", "1300")
    assert "pod interface eth0 has MTU 1300, ADD gave 1400" in (await check(node, pod, result)).json["msg"]


async def test_reservation_that_is_gone_or_anothers_is_named(node: Node, pod: str) -> None:
    result = await add(node, pod)
    held = dict(node.ipamd.held)
    node.ipamd.held.clear()
    assert "10.40.0.1 is not reserved" in (await check(node, pod, result)).json["msg"]
    node.ipamd.held[(*next(iter(held))[:2], "another", "eth0")] = "10.40.0.1"
    assert "10.40.0.1 is not reserved" in (await check(node, pod, result)).json["msg"]


async def test_silent_ipamd_is_no_difference(node: Node, pod: str) -> None:
    result = await add(node, pod)
    await node.ipamd.stop()
    assert (await check(node, pod, result)).status == 0


async def test_result_of_another_namespace_is_named(node: Node, pod: str) -> None:
    result = await add(node, pod)
    result["interfaces"][1]["sandbox"] = "/run/netns/other"
    assert "prevResult has sandbox /run/netns/other" in (await check(node, pod, result)).json["msg"]


async def test_check_needs_a_version_and_a_result(node: Node, pod: str) -> None:
    await add(node, pod)
    assert (await node.cni("CHECK", pod, conf={"cniVersion": "0.3.1"})).json["code"] == 1
    assert (await node.cni("CHECK", pod)).json["code"] == 7
    assert (await node.cni("CHECK", pod, conf={"prevResult": {"ips": "x"}})).json["code"] == 7


async def test_a_result_that_cannot_be_is_refused_with_its_path_in_words_of_json(node: Node, pod: str) -> None:
    result = await add(node, pod)
    del result["interfaces"][1]["name"]
    result["ips"].append({"interface": 9, "address": "x"})
    told = (await check(node, pod, result)).json
    assert told["code"] == 7
    for path in ("prevResult.interfaces[1].name is missing", "prevResult.ips[1].address", "prevResult.ips[1].interface"):
        assert path in told["msg"]
    assert "Error" not in told["msg"]
