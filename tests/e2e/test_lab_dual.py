"""A lab whose topology has both families: pods reach one another across nodes in both, and policy holds in both."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from romana.lab.probe import Answers, Pod, matrix
from tests.e2e.conftest import Lab, bring_up, run, take_down

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a lab of its own, with eight processes

TOPOLOGY = {
    "networks": [
        {"name": "v4", "cidr": "10.40.0.0/16", "block_mask": 28, "dual": "v6"},
        {"name": "v6", "cidr": "fd00:40::/112", "block_mask": 124},
    ],
    "topologies": [{"networks": ["v4"], "map": [{"name": "all"}]}, {"networks": ["v6"], "map": [{"name": "all"}]}],
}
ONLY_FROM_FRIENDS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-from-friends}
spec:
  podSelector: {matchLabels: {role: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: friend}}}]
"""
TRIES = 30


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes."""
    document = tmp_path_factory.mktemp("dual") / "topology.json"
    document.write_text(json.dumps(TOPOLOGY))
    name = f"d{os.getpid()}"
    try:
        yield bring_up(name, "--nodes", "2", "--topology", str(document))
    finally:
        take_down(name)


@pytest.fixture(scope="module")
def pods(dual: Lab) -> list[dict[str, Any]]:
    """Two on different nodes, and one beside the first."""
    placed = (("web", "node-1", "web"), ("friend", "node-2", "friend"), ("other", "node-2", "other"))
    return [dual.add_pod(name, node, "--label", f"role={role}") for name, node, role in placed]


def measured(pods: list[dict[str, Any]], family: int) -> Mapping[tuple[str, str], bool]:
    """Who reaches whom over TCP, seen with its own address. A pair that fails is asked again: only packets count, not time."""
    probes = [Pod(pod["name"], Path(pod["netns"]), pod["ips"][family]) for pod in pods]

    async def ask() -> Mapping[tuple[str, str], bool]:
        answers = Answers()
        try:
            await answers.start(probes)
            return await matrix(probes)
        finally:
            await answers.stop()

    return asyncio.run(ask())


def until_all_reach(pods: list[dict[str, Any]], family: int, cut: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Pairs that were never cut off, asked until each but those of `cut` got through: a slow machine makes an answer late."""
    reached: set[tuple[str, str]] = set()
    for _ in range(TRIES):
        cells = measured(pods, family)
        reached |= {pair for pair, ok in cells.items() if ok}
        if reached >= cells.keys() - cut:
            break
    return cells.keys() - reached


def test_nodes_have_an_address_of_each_family_and_nothing_is_wrong(dual: Lab) -> None:
    assert [node["addresses"] for node in dual.up["nodes"]] == [["192.0.2.11", "2001:2::11"], ["192.0.2.12", "2001:2::12"]]
    nodes = dual.romana("node", "list", "-o", "json").json["nodes"]
    assert [node["addresses"] for node in nodes] == [node["addresses"] for node in dual.up["nodes"]]
    tried = (dual.romana("status", "--wait", "-o", "json") for _ in range(5))  # it waits for 60 s each time
    assert any(done.code == 0 for done in tried), dual.romana("status").out


@pytest.mark.parametrize("family", [0, 1])
def test_pods_reach_one_another_across_nodes_in_both_families(dual: Lab, pods: list[dict[str, Any]], family: int) -> None:
    assert [":" in pod["ips"][family] for pod in pods] == [bool(family)] * 3
    assert until_all_reach(pods, family, set()) == set()


def test_a_policy_cuts_both_families_and_only_what_it_forbids(dual: Lab, pods: list[dict[str, Any]]) -> None:
    done = dual.romana("apply", "--wait", "--timeout", "60s", "-f", "-", stdin=ONLY_FROM_FRIENDS)
    assert done.code == 0, done.err
    cut = {("other", "web")}
    try:
        assert [until_all_reach(pods, family, cut) for family in (0, 1)] == [cut, cut]
    finally:
        assert dual.romana("delete", "netpol", "only-from-friends", "--wait").code == 0


def test_lab_up_again_keeps_the_second_family_and_another_topology_is_refused(dual: Lab) -> None:
    again = run(["ip", "-n", f"{dual.name}-node-1", "-6", "route", "show", "default"])
    assert "via 2001:2::1 dev eth0" in again.out
    done = dual.romana("lab", "up", "--name", dual.name, "--nodes", "2")
    assert done.code == 4
    assert "families" in done.err
