"""Plugins before us in a chain, and networks that the configuration chooses. CNI spec 1.1, section 3."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.cni_node import Node, a_node, namespace

pytestmark = pytest.mark.kernel

BEFORE: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "wg0", "mac": "00:11:22:33:44:55", "sandbox": "/run/netns/x"}],
    "ips": [{"interface": 0, "address": "172.16.0.5/24", "gateway": "172.16.0.1"}],
    "routes": [{"dst": "172.16.0.0/12"}],
    "dns": {"nameservers": ["172.16.0.1"]},
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def test_what_plugins_before_us_made_is_kept_and_ours_is_added(node: Node, pod: str) -> None:
    result = (await node.cni("ADD", pod, conf={"prevResult": BEFORE})).json
    assert result["interfaces"][0] == BEFORE["interfaces"][0]
    assert [interface["name"] for interface in result["interfaces"][1:]] == [node.interfaces()[0], "eth0"]
    assert result["ips"][0] == BEFORE["ips"][0]
    assert result["ips"][1]["interface"] == 2  # the index of eth0
    assert result["routes"][0] == BEFORE["routes"][0]
    assert result["dns"] == BEFORE["dns"]
    assert (await node.cni("CHECK", pod, conf={"prevResult": result})).status == 1  # the other's route is not in the pod
    result["routes"].pop(0)
    assert (await node.cni("CHECK", pod, conf={"prevResult": result})).status == 0
    assert (await node.cni("DEL", pod, conf={"prevResult": result})).status == 0
    await node.cleaned()


@pytest.mark.parametrize("before", [5, [1], {"ips": {"a": 1}}, {"interfaces": "x"}, {"dns": [1]}])
async def test_a_result_that_cannot_be_added_to_is_code_7_and_nothing_is_made(node: Node, pod: str, before: Any) -> None:
    ran = await node.cni("ADD", pod, conf={"prevResult": before})
    assert (ran.status, ran.json["code"]) == (1, 7)
    assert node.is_clean()


async def test_versions_without_chains_refuse_a_result(node: Node, pod: str) -> None:
    ran = await node.cni("ADD", pod, conf={"cniVersion": "0.2.0", "prevResult": BEFORE})
    assert (ran.status, ran.json["code"]) == (1, 7)


async def test_dns_of_the_runtime_comes_before_that_of_the_configuration(node: Node, pod: str) -> None:
    runtime = {"dns": {"servers": ["10.96.0.10"], "searches": ["svc.cluster.local"]}}
    conf = {"dns": {"nameservers": ["192.0.2.53"]}, "runtimeConfig": runtime}
    result = (await node.cni("ADD", pod, conf=conf)).json
    assert result["dns"] == {"nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"]}


@pytest.mark.parametrize(
    ("conf", "asked"),
    [({}, []), ({"network": "blue"}, ["blue"]), ({"networks": ["blue", "blue6"]}, ["blue", "blue6"])],
)
async def test_networks_of_the_configuration_are_asked_for(node: Node, pod: str, conf: dict[str, Any], asked: list[str]) -> None:
    assert (await node.cni("ADD", pod, conf=conf)).status == 0
    assert list(node.ipamd.requests[-1].networks) == asked


@pytest.mark.parametrize(
    "conf", [{"network": 5}, {"networks": "blue"}, {"networks": ["a b"]}, {"network": "a", "networks": ["b"]}]
)
async def test_networks_that_cannot_be_are_code_7_naming_the_key(node: Node, pod: str, conf: dict[str, Any]) -> None:
    ran = await node.cni("ADD", pod, conf=conf)
    assert (ran.status, ran.json["code"], "network" in ran.json["msg"]) == (1, 7, True)
    assert node.is_clean()
