"""A whole lab whose etcd is put back to a backup: connections go on, agents re-assert, no address lives twice (docs/adr/0007)."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from romana.lab.members import CLIENT_SOCKET
from romana.lab.plan import plan_lab
from romana.lab.probe import Pod
from tests.e2e.conftest import Lab, bring_up, take_down
from tests.e2e.test_faults import traffic_during
from tests.e2e.test_lab import wait_for_new_pid

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="no etcdctl on the PATH: ./dev setup installs it"),
]

NAME = f"r{os.getpid()}"
MEMBER = plan_lab(NAME, 3, [], None, programs="/nowhere", etcd="/nowhere").lab.members[0]
WAIT_S = 180.0


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    try:
        yield bring_up(NAME, "--nodes", "3")
    finally:
        take_down(NAME)


def etcdctl(*arguments: str) -> None:
    """In the member's folder, on its socket."""
    environ = os.environ | {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": f"unix://{CLIENT_SOCKET}"}
    done = subprocess.run(["etcdctl", *arguments], cwd=MEMBER.folder, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def restore(lab: Lab, backup: Path) -> None:
    """As docs/operations.md says; the lab's supervisor looks away meanwhile, and starts etcd again."""
    pids = lab.status()["control"]["pids"]
    os.kill(pids["supervisor"], signal.SIGSTOP)
    try:
        os.kill(pids["etcd"], signal.SIGKILL)
        data = MEMBER.state / MEMBER.id
        shutil.rmtree(data)
        options = [f"--data-dir={data}", "--name=lab", f"--initial-cluster=lab={MEMBER.peer}"]
        options += [f"--initial-advertise-peer-urls={MEMBER.peer}", "--initial-cluster-token=restored"]
        etcdctl("snapshot", "restore", str(backup), *options)
    finally:
        os.kill(pids["supervisor"], signal.SIGCONT)
    wait_for_new_pid(lab, ("control", "pids", "etcd"), pids["etcd"])


def test_pods_notice_nothing_and_no_address_is_given_twice(own_lab: Lab, tmp_path: Path) -> None:
    made = {name: own_lab.add_pod(name, node) for name, node in (("one", "node-1"), ("two", "node-2"))}
    backup = tmp_path / "backup.db"
    etcdctl("snapshot", "save", str(backup))
    made |= {f"late{i}": own_lab.add_pod(f"late{i}", "node-2") for i in range(14)}  # into a block that the backup does not have
    probes = [Pod(pod["name"], Path(pod["netns"]), pod["ips"][0]) for pod in (made["one"], made["late13"])]
    before = own_lab.romana("ipam", "recovery", "-o", "json").json["history"]

    def work() -> None:
        restore(own_lab, backup)
        deadline = time.monotonic() + WAIT_S
        while (found := own_lab.romana("ipam", "recovery", "-o", "json")).code != 0 or found.json["history"] == before:
            assert time.monotonic() < deadline, found.out + found.err
            time.sleep(0.5)

    flow = traffic_during(probes, work)
    assert flow.lost == 0
    made |= {f"new{i}": own_lab.add_pod(f"new{i}", f"node-{i % 3 + 1}") for i in range(12)}
    ips = [pod["ips"][0] for pod in made.values()]
    assert len(set(ips)) == len(ips)
    for name, pod in made.items():
        who = own_lab.romana("ipam", "who", pod["ips"][0], "-o", "json").json
        assert who["pod"]["name"] == name, who
    assert own_lab.romana("status", "--wait").code == 0
