"""Pods by the real CNI program: addresses, routes, results, and packets the moment ADD returns."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from romana.lab.probe import Answers, Pod, matrix
from tests.e2e.cni_call import Container
from tests.e2e.conftest import Lab, eventually, run

pytestmark = [pytest.mark.e2e]

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.fixture
def pods(lab: Lab) -> Iterator[list[dict[str, Any]]]:
    """One pod on each node, and a second one on the first."""
    placed = [("a", "node-1"), ("b", "node-2"), ("c", "node-3"), ("d", "node-1")]
    yield [lab.add_pod(name, node) for name, node in placed]
    for name, _ in placed:
        assert lab.delete_pod(name).code == 0


def test_every_pod_reaches_every_other_without_nat(pods: list[dict[str, Any]]) -> None:
    probes = [Pod(pod["name"], Path(pod["netns"]), pod["ips"][0]) for pod in pods]

    async def measured() -> dict[tuple[str, str], bool]:
        answers = Answers()
        try:
            await answers.start(probes)
            return dict(await matrix(probes))
        finally:
            await answers.stop()

    cells = asyncio.run(measured())
    assert len(cells) == 12
    assert [pair for pair, ok in cells.items() if not ok] == []


def test_add_leaves_in_the_kernel_what_the_design_says(lab: Lab, pods: list[dict[str, Any]]) -> None:
    pod = pods[0]
    host_interface = pod["cni_result"]["interfaces"][0]["name"]
    routes = lab.routes("node-1")
    (own,) = [route for route in routes if route["dst"] == pod["ips"][0] and route.get("table", "main") == "main"]
    assert (own["dev"], own["protocol"]) == (host_interface, "83")
    assert host_interface.startswith("rom")
    assert len(host_interface) == 15
    inside = run(["ip", "-n", Path(pod["netns"]).name, "-j", "route", "show"]).json
    assert {(route["dst"], route.get("gateway"), route["dev"]) for route in inside} == {
        ("default", "169.254.1.1", "eth0"),
        ("169.254.1.1", None, "eth0"),
    }
    (neighbour,) = run(["ip", "-n", Path(pod["netns"]).name, "-j", "neigh", "show", "169.254.1.1"]).json
    assert (neighbour["lladdr"], neighbour["state"]) == ("ee:ee:ee:ee:ee:ee", ["PERMANENT"])


def test_blocks_are_routed_to_their_owner_and_unreachable_at_home(lab: Lab, pods: list[dict[str, Any]]) -> None:
    blocks = lab.romana("block", "list", "-o", "json").json["blocks"]
    (home,) = [block for block in blocks if ip_address(pods[1]["ips"][0]) in ip_network(block["cidr"])]
    assert home["node"] == "node-2"

    def route_of(node: str) -> dict[str, Any]:
        (found,) = [route for route in lab.routes(node) if route["dst"] == home["cidr"]]
        return found

    assert route_of("node-1")["gateway"] == lab.node("node-2")["address"]
    assert route_of("node-3")["protocol"] == "82"
    assert route_of("node-2")["type"] == "unreachable"


def test_a_pod_is_in_etcd_under_its_keys_and_gone_after_del(lab: Lab) -> None:
    pod = lab.add_pod("kept", "node-2", "--label", "role=x", "--port", "web=80/TCP", "--namespace", "team")
    ip, container = pod["ips"][0], pod["container_id"]
    keys = {
        f"addresses/pods/{ip}": {"state": "held"},
        f"attachments/node-2/romana/{container}/eth0": {"host_interface": pod["cni_result"]["interfaces"][0]["name"]},
        f"endpoints/team/kept/{container}": {"addresses": [ip], "node": "node-2"},
        "pods/team/kept": {"labels": {"role": "x"}, "node": "node-2"},
    }
    for key, expected in keys.items():
        found = lab.romana("store", "get", key)
        assert found.code == 0, found.err
        assert {name: found.json["value"][name] for name in expected} == expected
    who = lab.romana("ipam", "who", ip, "-o", "json").json
    assert (who["state"], who["pod"]["name"], who["node"]) == ("held", "kept", "node-2")
    assert lab.delete_pod("kept", "team").code == 0
    assert eventually(lambda: lab.romana("ipam", "who", ip, "-o", "json").json["state"] in {"cooling", "free"})
    for key in list(keys)[1:]:
        assert lab.romana("store", "get", key).code == 1
    assert not [route for route in lab.routes("node-2") if route["dst"] == ip]
    assert lab.delete_pod("kept", "team").code == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_any_runtime_gets_the_result_of_its_version(lab: Lab, version: str) -> None:
    with Container(lab, "node-1", version=version) as container:
        done = container.call("ADD")
        assert done.code == 0, done.out + done.err
        result = done.json
        assert result["cniVersion"] == version
        ip = result["ip4"]["ip"] if "ip4" in result else result["ips"][0]["address"]
        (address,) = [item for item in container.ip("address", "show", "eth0")[0]["addr_info"] if item["family"] == "inet"]
        assert ip == f"{address['local']}/{address['prefixlen']}"
        assert address["prefixlen"] == 32
        checked = container.call("CHECK", extra={"prevResult": result})
        assert (checked.code == 0) == (version >= "0.4.0"), checked.out
        assert container.call("DEL").out == ""
        assert container.call("DEL").code == 0


def test_del_works_when_the_namespace_is_gone(lab: Lab) -> None:
    with Container(lab, "node-3") as container:
        result = container.call("ADD").json
        run(["ip", "netns", "delete", Path(container.netns).name])
        for netns in (container.netns, ""):
            assert container.call("DEL", netns=netns).code == 0
        ip = result["ips"][0]["address"].split("/")[0]
        assert eventually(lambda: lab.romana("ipam", "who", ip, "-o", "json").json["state"] in {"cooling", "free"})


def test_check_names_what_was_sabotaged(lab: Lab) -> None:
    with Container(lab, "node-1") as container:
        result = container.call("ADD").json
        run(["ip", "-n", Path(container.netns).name, "route", "delete", "default"])
        done = container.call("CHECK", extra={"prevResult": result})
        assert (done.code, done.json["code"]) == (1, 102)
        assert "default" in done.out or "0.0.0.0/0" in done.out


def test_a_pod_that_was_never_applied_gets_code_11_naming_it(lab: Lab) -> None:
    with Container(lab, "node-1", args="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=ghost") as container:
        done = container.call("ADD")
        assert (done.code, done.json["code"]) == (1, 11)
        assert "default/ghost" in done.json["msg"] + done.json.get("details", "")
        assert json.loads(done.out)["cniVersion"] == "1.0.0"


def test_a_pod_that_was_applied_first_is_served(lab: Lab) -> None:
    manifest = "{apiVersion: v1, kind: Pod, metadata: {name: applied, labels: {a: b}}}"
    applied = lab.romana("apply", "-f", "-", stdin=manifest)
    assert applied.code == 0, applied.err
    with Container(lab, "node-1", args="K8S_POD_NAME=applied;K8S_POD_NAMESPACE=default") as container:
        done = container.call("ADD")
        assert done.code == 0, done.out
        ip = done.json["ips"][0]["address"].split("/")[0]
        assert lab.romana("ipam", "who", ip, "-o", "json").json["pod"]["name"] == "applied"


def test_a_second_interface_of_one_container_is_an_attachment_of_its_own(lab: Lab) -> None:
    with Container(lab, "node-2") as container:
        first = container.call("ADD").json
        second = container.call("ADD", ifname="net1")
        assert second.code == 0, second.out
        assert second.json["ips"][0]["address"] != first["ips"][0]["address"]
        assert container.call("DEL", ifname="net1").code == 0
        assert container.call("CHECK", extra={"prevResult": first}).code == 0


def test_check_names_a_policy_that_is_not_enforced_any_more(lab: Lab) -> None:
    """policyd repairs it within a moment, so it is stopped meanwhile; its silence alone is no difference."""
    node = lab.node("node-1")
    with Container(lab, "node-1") as container:
        result = json.loads(container.call("ADD").out)
        stopped = lab.status()["nodes"][0]["pids"]["policyd"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert container.call("CHECK", extra={"prevResult": result}).code == 0
            in_node = ["nsenter", f"--net={node['netns']}", "--", "iptables-legacy"]
            assert run([*in_node, "-F", "FORWARD"]).code == 0
            found = container.call("CHECK", extra={"prevResult": result})
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert (found.code, json.loads(found.out)["code"]) == (1, 102)
        assert "ROMANA-FORWARD" in found.out
        repaired = time.monotonic() + 60
        while container.call("CHECK", extra={"prevResult": result}).code and time.monotonic() < repaired:
            time.sleep(0.1)
        assert container.call("CHECK", extra={"prevResult": result}).code == 0
