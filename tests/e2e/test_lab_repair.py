"""`lab up` after one that was killed, wherever it was: what is half-made is finished."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from romana.lab import namespaces
from romana.lab.plan import plan_lab
from romana.lab.probe import socket_in
from romana.lab.processes import keepers
from tests.e2e.conftest import ROMANA, bring_up, run, take_down
from tests.e2e.test_lab import wait_for_new_pid

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]

NAME = f"h{os.getpid()}"
LAB = replace(plan_lab(NAME, 1, [], None, programs="/nowhere", etcd="/nowhere").lab, ipv6=True)
TOR, NODE = LAB.netns("tor"), LAB.netns("node-1")


@pytest.fixture
def no_namespaces() -> Iterator[None]:
    """Takes the fabric's namespaces away afterwards."""
    yield
    namespaces.remove(LAB.fixed_netns())


def ip(*arguments: str) -> None:
    done = run(["ip", *arguments])
    assert done.code == 0, done.err


def nothing() -> None:
    pass


def half_made_namespace() -> None:
    namespaces.ensure_netns(LAB.netns("ctl"))
    namespaces.netns_path(NODE).touch()


def router_without_bridge() -> None:
    ip("netns", "add", TOR)


def router_without_address() -> None:
    router_without_bridge()
    ip("-n", TOR, "link", "add", "br0", "type", "bridge")


def node_without_link() -> None:
    router_without_address()
    ip("netns", "add", NODE)


def node_without_address() -> None:
    node_without_link()
    ip("-n", TOR, "link", "add", "port1", "type", "veth", "peer", "name", "eth0", "netns", NODE)


def node_without_route() -> None:
    node_without_address()
    ip("-n", NODE, "address", "add", "192.0.2.11/24", "dev", "eth0")


def port_without_node() -> None:
    router_without_address()
    ip("-n", TOR, "link", "add", "port1", "type", "veth", "peer", "name", "stray")


def everything() -> None:
    namespaces.ensure_fabric(LAB)


@pytest.mark.parametrize(
    "half",
    [
        nothing,
        half_made_namespace,
        router_without_bridge,
        router_without_address,
        node_without_link,
        node_without_address,
        node_without_route,
        port_without_node,
        everything,
    ],
)
def test_a_half_made_fabric_is_finished(half: Callable[[], None], no_namespaces: None) -> None:
    half()
    namespaces.ensure_fabric(LAB)
    assert reaches("192.0.2.1")  # the router itself
    assert reaches("192.0.2.2")  # the control namespace, behind another port
    assert reaches("2001:2::1")
    assert reaches("2001:2::2")
    assert run(["ip", "-n", NODE, "-j", "route", "show", "default"]).json[0]["gateway"] == "192.0.2.1"
    assert run(["ip", "-6", "-n", NODE, "-j", "route", "show", "default"]).json[0]["gateway"] == "2001:2::1"
    assert run(["nsenter", f"--net=/run/netns/{TOR}", "cat", "/proc/sys/net/ipv6/conf/all/forwarding"]).out == "1\n"
    assert run(["nsenter", f"--net=/run/netns/{TOR}", "cat", "/proc/sys/net/ipv4/ip_forward"]).out == "1\n"


def reaches(ip_of_other: str) -> bool:
    """True when a packet from the node is answered: nobody listens there, so by a refusal."""
    with socket_in(namespaces.netns_path(NODE), socket.SOCK_STREAM, ip_of_other) as client:
        client.settimeout(60)
        try:
            client.connect((ip_of_other, 9))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


@pytest.mark.timeout(180)
def test_lab_up_works_after_one_killed_at_any_moment() -> None:
    name = f"k{os.getpid()}"
    try:
        for delay_s in (0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.5):
            killed = subprocess.Popen([ROMANA, "lab", "up", "--name", name, "--nodes", "2"], stderr=subprocess.DEVNULL)
            time.sleep(delay_s)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        done = run([ROMANA, "lab", "up", "--name", name, "--nodes", "2", "-o", "json"])
        assert done.code == 0, done.err
        added = run([ROMANA, "lab", "pod", "add", "p", "--lab", name])
        assert added.code == 0, added.err
    finally:
        take_down(name)
    assert not list(Path("/run/netns").glob(f"{name}-*"))


def test_a_guard_that_died_is_reported_and_replaced_and_two_supervisors_never_keep_the_same_lab() -> None:
    name = f"g{os.getpid()}"
    try:
        before = bring_up(name, "--nodes", "1")
        for _ in range(2):
            os.kill(before.status()["control"]["pids"]["guard"], signal.SIGKILL)
            status = run([ROMANA, "lab", "status", "--name", name, "-o", "json"])
            assert (status.code, status.json["not_running"]) == (1, ["guard"])
            again = bring_up(name, "--nodes", "1")
            assert again.status()["not_running"] == []
            assert again.up["nodes"] == before.up["nodes"]
        agent = before.up["nodes"][0]["pids"]["agent"]
        os.kill(agent, signal.SIGKILL)
        wait_for_new_pid(before, ("nodes", "node-1", "pids", "agent"), agent)
        assert before.romana("status", "--wait").code == 0
        assert len(_processes_in(f"{name}-node-1", "romana-agent")) == 1
        assert len(keepers(name)) == 4  # three supervisors, of which the first works, and the last guard
    finally:
        take_down(name)
    assert keepers(name) == []
    assert not Path("/run/romana-lab", name).exists()


def _processes_in(netns: str, program: str) -> list[str]:
    pids = run(["ip", "netns", "pids", netns]).out.split()
    return [pid for pid in pids if program in Path(f"/proc/{pid}/cmdline").read_text()]
