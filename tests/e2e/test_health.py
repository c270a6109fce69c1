"""Each daemon of each node tells its health in its own namespace, and all of them the truth about etcd."""

import os
import signal
import subprocess
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from romana.config import HealthConfig
from tests.e2e.conftest import Lab
from tests.health_client import Told, ask_in, lines, values
from tests.metrics_page import documented, exposed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # etcd stands still for a while, and every daemon has to notice

PORTS = {name: int(address.rpartition(":")[2]) for name, address in HealthConfig().model_dump().items()}
NODE_DAEMONS = ("agent", "routed", "policyd")


def daemons(lab: Lab) -> dict[str, list[str]]:
    """By namespace, all daemons that tell their health there: `ipamd`, `agent@node-1`."""
    found = {lab.up["control"]["netns"]: ["ipamd"]}
    for node in lab.up["nodes"]:
        found[node["netns"]] = [f"{daemon}@{node['name']}" for daemon in NODE_DAEMONS]
    return found


def ask_all(lab: Lab, page: str, only: Collection[str] | None = None) -> dict[str, Told]:
    """This page of every daemon, or of some."""
    asked = {netns: [name for name in names if only is None or name in only] for netns, names in daemons(lab).items()}

    def ask(netns: str) -> dict[str, Told]:
        names = asked[netns]
        return dict(zip(names, ask_in(netns, *((PORTS[name.partition("@")[0]], page) for name in names)), strict=True))

    with ThreadPoolExecutor(len(asked)) as threads:  # a daemon that waits for evidence must not hold up the question to others
        answers = threads.map(ask, [netns for netns, names in asked.items() if names])
        return {name: told for answer in answers for name, told in answer.items()}


def becomes(lab: Lab, status: int) -> dict[str, str]:
    """Wait until each daemon's `/readyz` has said so; what it said then."""
    found: dict[str, str] = {}
    left = {name for names in daemons(lab).values() for name in names}
    while left:
        found |= {name: told.body for name, told in ask_all(lab, "/readyz", left).items() if told.status == status}
        left -= found.keys()
    return found


def pids(status: Any) -> list[int]:
    """Of all daemons of the lab."""
    return [status["control"]["pids"]["ipamd"], *(pid for node in status["nodes"] for pid in node["pids"].values())]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """It neither answers nor dies."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def pod(lab: Lab) -> Iterator[None]:
    """One pod, so that everything has happened once."""
    lab.add_pod("measured", "node-1")
    yield
    assert lab.delete_pod("measured").code == 0


def test_every_daemon_of_every_node_is_alive_ready_and_tells_what_the_page_lists(lab: Lab, pod: None) -> None:
    becomes(lab, 200)
    assert {(told.status, told.body) for told in ask_all(lab, "/livez").values()} == {(200, "livez passed\n")}
    pages = {name: told.body for name, told in ask_all(lab, "/metrics").items()}
    assert len(pages) == 1 + 3 * len(NODE_DAEMONS)
    for name, page in pages.items():
        daemon = name.partition("@")[0]
        assert values(page, "romana_build_info", daemon=daemon) == [1], name
        assert exposed(page).keys() == documented(daemon).keys(), name
    ipamd, agent, routed, policyd = (pages[name] for name in ("ipamd", "agent@node-1", "routed@node-1", "policyd@node-1"))
    assert sum(values(ipamd, "romana_ipam_node_addresses", node="node-1", state="allocated")) == 1
    assert sum(values(agent, "romana_agent_call_seconds_count", command="ADD", code="0")) >= 1
    assert values(agent, "romana_agent_attachments") == [1]
    desired = values(routed, "romana_routed_routes_desired")
    assert desired == values(routed, "romana_routed_routes_installed")
    assert desired[0] >= 3  # a block of each node: two routes, and one unreachable
    assert values(policyd, "romana_policyd_pods") == [1]
    assert values(policyd, "romana_policyd_revision_in_force") == values(policyd, "romana_policyd_revision_compiled")
    assert values(policyd, "romana_policyd_rules")[0] > 0


def test_repairs_are_counted(lab: Lab) -> None:
    node = lab.node("node-1")
    wanted = (PORTS["routed"], "/metrics")
    before = values(ask_in(node["netns"], wanted)[0].body, "romana_routed_repairs_total")
    netns, ours = Path(node["netns"]).name, [route for route in lab.routes("node-1") if route.get("protocol") == "82"]
    subprocess.run(["ip", "-n", netns, "route", "del", ours[0]["dst"], "proto", "82"], check=True, timeout=60)
    while True:
        page = ask_in(node["netns"], wanted)[0].body
        if values(page, "romana_routed_repairs_total")[0] > before[0]:
            break
    assert sum(values(page, "romana_routed_operations_total", operation="add")) >= 1


def test_a_frozen_etcd_is_told_by_all_and_they_are_ready_again_without_a_restart(lab: Lab) -> None:
    becomes(lab, 200)
    before = lab.status()
    with frozen(before["control"]["pids"]["etcd"]):
        told = becomes(lab, 503)
        for name, body in told.items():
            what = "ipamd" if name.startswith("agent") else "etcd"
            assert lines(body, f"[-]{what} failed: "), (name, body)
            assert "before: " in lines(body, f"[-]{what} failed: ")[0]
        assert {told.status for told in ask_all(lab, "/livez").values()} == {200}
    becomes(lab, 200)
    assert pids(lab.status()) == pids(before)
