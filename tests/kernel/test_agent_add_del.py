"""The plugin as a runtime sees it: the real shim, the real agent, a real kernel."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from romana.config import read_boot_id
from tests.fakes.cni_node import NODE_ADDRESS, UPLINK_MTU, Node, a_node, ip, namespace, netns_path, pings, until

pytestmark = pytest.mark.kernel


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with a_node(tmp_path) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


@pytest.fixture
def other() -> Iterator[str]:
    with namespace("pod") as name:
        yield name


async def test_pods_reach_each_other_and_the_node_the_instant_add_returns(node: Node, pod: str, other: str) -> None:
    first = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    assert await pings(node.name, first)
    assert await pings(pod, NODE_ADDRESS)
    second = (await node.cni("ADD", other)).json["ips"][0]["address"].split("/")[0]
    assert await pings(other, first)
    assert await pings(pod, second)


async def test_the_result_tells_what_the_kernel_has(node: Node, pod: str) -> None:
    result = (await node.cni("ADD", pod, conf={"cniVersion": "1.1.0"})).json
    link = json.loads(ip("-n", pod, "-j", "link", "show", "eth0"))[0]
    assert result["interfaces"][1] == {"name": "eth0", "mac": link["address"], "sandbox": netns_path(pod), "mtu": link["mtu"]}
    assert result["interfaces"][0]["name"] in node.interfaces()
    assert link["mtu"] == UPLINK_MTU
    routes = {route["dst"] for route in json.loads(ip("-n", pod, "-j", "route"))}
    assert routes == {"default", "169.254.1.1"}
    assert "LOOPBACK,UP" in ip("-n", pod, "link", "show", "lo")


async def test_mtu_of_the_configuration_wins(node: Node, pod: str) -> None:
    result = (await node.cni("ADD", pod, conf={"cniVersion": "1.1.0", "mtu": 1280})).json
    assert [interface["mtu"] for interface in result["interfaces"]] == [1280, 1280]


async def test_del_leaves_nothing_and_may_be_repeated(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    for netns in (netns_path(pod), "", "/run/netns/gone"):
        ran = await node.cni("DEL", pod, netns=netns)
        assert (ran.status, ran.stdout) == (0, b"")
        await node.cleaned()
    assert "eth0" not in ip("-n", pod, "link")


async def test_del_after_the_namespace_died_frees_everything(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    ip("netns", "del", pod)
    assert (await node.cni("DEL", pod)).status == 0
    await node.cleaned()


async def test_agent_keeps_no_namespace_alive(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    ip("netns", "del", pod)  # its veth dies with it, unless somebody holds a descriptor
    await until(lambda: not node.interfaces())


async def test_del_of_an_unknown_container_succeeds(node: Node, pod: str) -> None:
    assert (await node.cni("DEL", pod, cid="never-seen")).status == 0


async def test_del_works_with_a_broken_configuration_and_a_foreign_result(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    broken = {"mtu": "x", "dns": 5, "prevResult": "garbage", "cniVersion": "0.3.1"}
    assert (await node.cni("DEL", pod, conf=broken, CNI_ARGS="nonsense")).status == 0
    await node.cleaned()


async def test_del_touches_no_other_attachment(node: Node, pod: str, other: str) -> None:
    await node.cni("ADD", pod)
    kept = (await node.cni("ADD", other)).json["ips"][0]["address"].split("/")[0]
    await node.cni("DEL", pod)
    assert await pings(node.name, kept)
    await until(lambda: len(node.ipamd.held) == 1, 60)


async def test_second_add_fails_and_keeps_the_first(node: Node, pod: str) -> None:
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    again = await node.cni("ADD", pod)
    assert (again.status, again.json["code"]) == (1, 103)
    assert await pings(node.name, address)
    assert list(node.ipamd.held.values()) == [address]


async def test_second_add_into_another_namespace_fails_and_keeps_the_first(node: Node, pod: str, other: str) -> None:
    address = (await node.cni("ADD", pod)).json["ips"][0]["address"].split("/")[0]
    again = await node.cni("ADD", other, cid=pod)
    assert again.json["code"] == 103
    assert await pings(node.name, address)


async def test_existing_pod_interface_is_an_error_and_stays(node: Node, pod: str) -> None:
    ip("-n", pod, "link", "add", "eth0", "type", "veth", "peer", "name", "other0")
    before = ip("-n", pod, "link")
    ran = await node.cni("ADD", pod)
    assert (ran.status, ran.json["code"]) == (1, 103)
    assert "eth0 exists" in ran.json["msg"]
    assert ip("-n", pod, "link") == before
    assert node.is_clean()
    assert (await node.cni("DEL", pod)).status == 0
    assert ip("-n", pod, "link") == before


async def test_two_interfaces_of_one_container_live_side_by_side(node: Node, pod: str) -> None:
    first, second = [
        (await node.cni("ADD", pod, ifname=name)).json["ips"][0]["address"].split("/")[0] for name in ("eth0", "net1")
    ]
    for _ in range(5):
        assert await pings(node.name, first)
        assert await pings(node.name, second)
    assert await pings(pod, NODE_ADDRESS, source=second)
    assert (await node.cni("DEL", pod, ifname="net1")).status == 0
    assert await pings(node.name, first)
    await node.cni("ADD", pod, ifname="net1")
    assert (await node.cni("DEL", pod, ifname="eth0")).status == 0
    assert len(node.interfaces()) == 1
    await until(lambda: len(node.ipamd.held) == 1, 60)


def rules(pod: str) -> list[str]:
    return [rule["table"] for rule in json.loads(ip("-n", pod, "-j", "rule")) if rule["table"].startswith("83")]


async def test_rule_of_a_second_interface_goes_with_it_and_no_other(node: Node, pod: str) -> None:
    for name in ("eth0", "net1", "net2"):
        await node.cni("ADD", pod, ifname=name)
    ours = rules(pod)
    assert len(ours) == 2
    await node.cni("DEL", pod, ifname="eth0")
    assert rules(pod) == ours
    await node.cni("DEL", pod, ifname="net1", netns="")  # cannot be reached
    assert rules(pod) == ours
    await node.cni("DEL", pod, ifname="net2")
    assert rules(pod) == ours[1:]  # the newest comes first: man 8 ip-rule, priority


async def test_failed_second_interface_leaves_no_rule(node: Node, pod: str) -> None:
    await node.cni("ADD", pod)
    ip("-n", node.name, "route", "add", f"{node.ipamd.free[0]}/32", "dev", "up0")  # in the way of the host route
    assert (await node.cni("ADD", pod, ifname="net1")).json["code"] == 103
    assert not rules(pod)


async def test_pod_cannot_speak_for_another(node: Node, pod: str, other: str) -> None:
    await node.cni("ADD", pod)
    address = (await node.cni("ADD", other)).json["ips"][0]["address"]
    ip("-n", pod, "address", "add", address, "dev", "lo")
    assert not await pings(pod, NODE_ADDRESS, source=address.split("/")[0], timeout_s=0.3)


@pytest.mark.parametrize("path", ["/run/netns/gone", "/etc/passwd", "/dev/null", "/proc/self/ns/uts", "/tmp"])
async def test_what_is_no_network_namespace_is_refused_before_anything_is_done(node: Node, path: str) -> None:
    ran = await node.cni("ADD", "x", netns=path)
    assert (ran.status, ran.json["code"]) == (1, 8)
    assert not node.ipamd.calls


async def test_the_nodes_own_namespace_is_refused(node: Node) -> None:
    assert (await node.cni("ADD", node.name)).json["code"] == 8
    assert not node.ipamd.calls


async def test_many_at_once(node: Node) -> None:
    pods = [namespace("pod") for _ in range(12)]
    names = [pod.__enter__() for pod in pods]
    try:
        added = await asyncio.gather(*(node.cni("ADD", name) for name in names))
        assert [ran.status for ran in added] == [0] * 12
        assert len({ran.json["ips"][0]["address"] for ran in added}) == 12
        deleted = await asyncio.gather(*(node.cni("DEL", name) for name in names for _ in range(2)))
        assert {ran.status for ran in deleted} == {0}
        await node.cleaned()
    finally:
        for pod in pods:
            pod.__exit__(None, None, None)


async def test_pod_is_passed_on_with_node_uid_and_boot_id(node: Node, pod: str) -> None:
    node.ipamd.pods.add(("shop", "web-0"))
    args = "K8S_POD_UID=u-1;K8S_POD_NAME=web-0;IgnoreUnknown=1;X=Y;K8S_POD_NAMESPACE=shop"
    assert (await node.cni("ADD", pod, CNI_ARGS=args)).status == 0
    request = node.ipamd.requests[-1]
    assert (request.pod.namespace, request.pod.name, request.pod.uid) == ("shop", "web-0", "u-1")
    assert request.node_uid == "uid-1"
    assert request.boot_id == read_boot_id()


async def test_name_without_namespace_is_anonymous(node: Node, pod: str) -> None:
    assert (await node.cni("ADD", pod, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=p1")).status == 0
    assert not node.ipamd.requests[-1].HasField("pod")
