"""Each daemon of each node tells its health in its own namespace, and all of them the truth about etcd."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from romana.config import HealthConfig
from tests.e2e.conftest import Lab
from tests.health_client import Told, ask_in, lines, values
from tests.metrics_page import documented, exposed

pytestmark = [pytest.mark.e2e]

PAGES = ("/livez", "/readyz", "/metrics")
PORTS = {name: int(address.rpartition(":")[2]) for name, address in HealthConfig().model_dump().items()}
NODE_DAEMONS = ("agent", "routed", "policyd")


def ask_all(lab: Lab, *pages: str) -> dict[str, dict[str, Told]]:
    """The pages of every daemon, `ipamd` or `agent@node-1`."""
    control = lab.up["control"]["netns"]
    found = {"ipamd": ask_in(control, PORTS["ipamd"], *pages)}
    for node in lab.up["nodes"]:
        for daemon in NODE_DAEMONS:
            found[f"{daemon}@{node['name']}"] = ask_in(node["netns"], PORTS[daemon], *pages)
    return found


def becomes(lab: Lab, status: int) -> dict[str, str]:
    """Wait until every daemon's `/readyz` says so; what each said."""
    while True:
        found = {name: told["/readyz"] for name, told in ask_all(lab, "/readyz").items()}
        if all(told.status == status for told in found.values()):
            return {name: told.body for name, told in found.items()}


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
    told = ask_all(lab, *PAGES)
    assert len(told) == 1 + 3 * len(NODE_DAEMONS)
    for name, pages in told.items():
        assert pages["/livez"] == Told(200, "livez passed\n"), name
        assert pages["/readyz"].body.endswith("readyz passed\n"), name
        page, daemon = pages["/metrics"].body, name.partition("@")[0]
        assert values(page, "romana_build_info", daemon=daemon) == [1], name
        assert exposed(page).keys() == documented(daemon).keys(), name
    ipamd, agent = told["ipamd"]["/metrics"].body, told["agent@node-1"]["/metrics"].body
    routed, policyd = told["routed@node-1"]["/metrics"].body, told["policyd@node-1"]["/metrics"].body
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
    before = values(ask_in(node["netns"], PORTS["routed"], "/metrics")["/metrics"].body, "romana_routed_repairs_total")
    netns, ours = Path(node["netns"]).name, [route for route in lab.routes("node-1") if route.get("protocol") == "82"]
    subprocess.run(["ip", "-n", netns, "route", "del", ours[0]["dst"], "proto", "82"], check=True, timeout=60)
    while True:
        page = ask_in(node["netns"], PORTS["routed"], "/metrics")["/metrics"].body
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
        assert {pages["/livez"].status for pages in ask_all(lab, "/livez").values()} == {200}
    becomes(lab, 200)
    assert pids(lab.status()) == pids(before)
    assert lab.romana("status", "--wait").code == 0
