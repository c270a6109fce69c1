"""The lab keeps its contract: one JSON, everything in namespaces of its own, what dies comes back, down leaves nothing."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from romana.lab import processes
from tests.e2e.conftest import ROMANA, Lab, bring_up, run, take_down

pytestmark = [pytest.mark.e2e]

SHARED = Path(__file__).resolve().parents[3] / "shared/topologies"


def wait_for_new_pid(lab: Lab, path: tuple[str, ...], old: int, timeout_s: float = 20) -> int:
    """The pid at this path of `lab status` once it is there and another than the old one."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = lab.status()
        for key in path:
            value = next(item for item in value if item["name"] == key) if isinstance(value, list) else value[key]
        if value not in {None, old}:
            return int(value)
        time.sleep(0.05)
    pytest.fail(f"{path} was not started again within {timeout_s} s")


def test_lab_up_names_everything_that_others_need(lab: Lab) -> None:
    assert lab.up["name"] == lab.name
    assert [node["name"] for node in lab.up["nodes"]] == ["node-1", "node-2", "node-3"]
    for node in lab.up["nodes"]:
        assert Path(node["netns"]).exists()
        assert os.access(node["cni_bin"], os.X_OK)
        assert json.loads(Path(node["conflist"]).read_text())["plugins"][0]["type"] == "romana"
        assert Path(node["agent_socket"]).is_socket()
        assert set(node["pids"]) == {"agent", "routed", "policyd"}
    now = lab.status()
    for pid in [*now["control"]["pids"].values(), *(pid for node in now["nodes"] for pid in node["pids"].values())]:
        os.kill(pid, 0)
    for endpoint in (*lab.up["etcd"], lab.up["ipam"]):
        path = endpoint.removeprefix("unix:")
        assert len(path) < 80
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    assert Path(lab.up["config"]).exists()


def test_lab_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.status()
    again = run([ROMANA, "lab", "up", "--name", lab.name, "-o", "json"])
    assert again.code == 0, again.err
    assert again.json["nodes"] == before["nodes"]
    assert again.json["control"] == before["control"]


def test_lab_up_with_other_nodes_is_refused(lab: Lab) -> None:
    done = run([ROMANA, "lab", "up", "--name", lab.name, "--nodes", "2"])
    assert done.code == 4
    assert "lab down" in done.err


def test_a_killed_supervisor_comes_back_and_adopts_what_runs(lab: Lab) -> None:
    before = lab.status()
    os.kill(before["control"]["pids"]["supervisor"], signal.SIGKILL)
    wait_for_new_pid(lab, ("control", "pids", "supervisor"), before["control"]["pids"]["supervisor"])
    after = lab.status()
    assert [node["pids"] for node in after["nodes"]] == [node["pids"] for node in before["nodes"]]
    assert after["control"]["pids"]["etcd"] == before["control"]["pids"]["etcd"]
    agent = after["nodes"][0]["pids"]["agent"]
    os.kill(agent, signal.SIGKILL)
    wait_for_new_pid(lab, ("nodes", "node-1", "pids", "agent"), agent)


def test_a_supervisor_killed_before_it_recorded_a_daemon_is_followed_by_one_that_adopts_it(lab: Lab) -> None:
    before = lab.status()
    supervisor, agent = before["control"]["pids"]["supervisor"], before["nodes"][0]["pids"]["agent"]
    os.kill(supervisor, signal.SIGSTOP)
    record_of(lab.name, "agent@node-1").unlink()
    os.kill(supervisor, signal.SIGKILL)
    wait_for_new_pid(lab, ("control", "pids", "supervisor"), supervisor)
    assert wait_for_new_pid(lab, ("nodes", "node-1", "pids", "agent"), 0) == agent
    assert [found.pid for found in processes.marked(lab.name)["agent@node-1"]] == [agent]


def test_down_ends_what_a_killed_supervisor_did_not_record() -> None:
    name = f"u{os.getpid()}"
    try:
        made = bring_up(name, "--nodes", "1")
        pids = made.up["nodes"][0]["pids"]
        os.kill(made.up["control"]["pids"]["supervisor"], signal.SIGSTOP)
        for daemon in pids:
            record_of(name, f"{daemon}@node-1").unlink()
    finally:
        take_down(name)
    assert [pid for pid in pids.values() if _runs(pid)] == []
    assert processes.marked(name) == {}


def test_a_lab_with_three_members_of_etcd_works_while_one_is_away() -> None:
    name = f"m{os.getpid()}"
    try:
        made = bring_up(name, "--nodes", "1", "--etcd-members", "3")
        assert len(set(made.up["etcd"])) == 3
        pid = made.up["control"]["pids"]["etcd"]  # the one that clients prefer
        os.kill(pid, signal.SIGSTOP)
        try:
            made.add_pod("p", "node-1")
        finally:
            os.kill(pid, signal.SIGKILL)
        wait_for_new_pid(made, ("control", "pids", "etcd"), pid)
        assert made.romana("status", "--wait").code == 0
    finally:
        take_down(name)


def test_two_labs_live_side_by_side_and_down_leaves_nothing_of_one(lab: Lab) -> None:
    name = f"{lab.name}-b"
    other = bring_up(name, "--nodes", "1")
    pod = run([ROMANA, "lab", "pod", "add", "p", "--lab", name, "-o", "json"])
    assert pod.code == 0, pod.err
    pids = [*other.up["control"]["pids"].values(), *other.up["nodes"][0]["pids"].values()]
    take_down(name)
    take_down(name)
    assert not [path for path in Path("/run/netns").iterdir() if path.name.startswith(f"{name}-")]
    assert not Path("/run/romana-lab", name).exists()
    assert not Path("/var/lib/romana-lab", name).exists()
    assert [pid for pid in pids if _runs(pid)] == []
    assert lab.status()["not_running"] == []


def test_a_lab_of_racks_places_nodes_by_label_and_says_who_is_refused() -> None:
    if not (SHARED / "e3.json").exists():
        pytest.skip(f"{SHARED} is not there")
    name = f"r{os.getpid()}"
    try:
        racks = bring_up(name, "--topology", str(SHARED / "e3.json"))
        nodes = {node["name"]: node for node in racks.romana("node", "list", "-o", "json").json["nodes"]}
        groups = {node: {place["network"]: place["group_path"] for place in found["placements"]} for node, found in nodes.items()}
        expected = {"a1": "dc/0", "a2": "dc/0", "b1": "dc/1/0", "b2": "dc/1/1", "b3": "dc/1/0", "c1": "dc/2"}
        assert groups == {node: {"dc": path} for node, path in expected.items()}
        refused = {node["name"]: node["refused"] for node in racks.up["nodes"] if node["refused"]}
        assert set(refused) == {"x1", "y1"}
        assert "rack" in refused["x1"]
        pod = racks.add_pod("p", "b2")
        assert pod["ips"][0].startswith("10.42.96.")
    finally:
        take_down(name)


def record_of(lab: str, process_id: str) -> Path:
    """Where a lab wrote down a process."""
    return Path("/run/romana-lab", lab, "pids", f"{process_id}.json")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
