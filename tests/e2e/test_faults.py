"""Any daemon may die or hang at any moment: running pods keep their traffic, ADD answers in bounded time, all converges."""

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from romana.lab.probe import Answers, Flow, Pod
from tests.e2e.cni_call import Container
from tests.e2e.conftest import ROMANA, Lab, eventually, run
from tests.e2e.test_lab import wait_for_new_pid

pytestmark = [pytest.mark.e2e]

ADD_BOUND_S = 45.0  # what the runtime is promised when etcd or ipamd is away


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that neither answers nor dies."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def probes(lab: Lab) -> Iterator[list[Pod]]:
    """Pods on two nodes."""
    made = [lab.add_pod("one", "node-1"), lab.add_pod("two", "node-2")]
    yield [Pod(pod["name"], Path(pod["netns"]), pod["ips"][0]) for pod in made]
    for pod in made:
        assert lab.delete_pod(pod["name"]).code == 0


def traffic_during(probes: list[Pod], work: Callable[[], None]) -> Flow:
    """Run `work` beside a connection and datagrams between the two pods; gives what became of them."""

    async def measured() -> Flow:
        answers, flow = Answers(), Flow(probes[0], probes[1])
        try:
            await answers.start(probes)
            flow.start()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(work)
            await asyncio.sleep(0.5)
            await flow.stop()
        finally:
            await answers.stop()
        return flow

    return asyncio.run(measured())


@pytest.mark.parametrize("daemon", ["routed", "agent"])
def test_a_killed_daemon_of_a_node_comes_back_and_no_packet_is_lost(lab: Lab, probes: list[Pod], daemon: str) -> None:
    def kill() -> None:
        for node in ("node-1", "node-2"):
            pid = next(found for found in lab.status()["nodes"] if found["name"] == node)["pids"][daemon]
            os.kill(pid, signal.SIGKILL)
            wait_for_new_pid(lab, ("nodes", node, "pids", daemon), pid)
        assert lab.romana("status", "--wait").code == 0

    flow = traffic_during(probes, kill)
    assert (flow.broken, flow.lost) == ("", 0)
    assert flow.sent > 100
    with Container(lab, "node-1") as container:
        assert container.call("ADD").code == 0


@pytest.mark.parametrize("daemon", ["ipamd", "etcd"])
def test_a_killed_ipamd_or_etcd_comes_back_and_nothing_is_forgotten(lab: Lab, probes: list[Pod], daemon: str) -> None:
    def kill() -> None:
        pid = lab.status()["control"]["pids"][daemon]
        os.kill(pid, signal.SIGKILL)
        wait_for_new_pid(lab, ("control", "pids", daemon), pid)
        done = lab.romana("status", "--wait")
        assert done.code == 0, done.out + done.err

    flow = traffic_during(probes, kill)
    assert (flow.broken, flow.lost) == ("", 0)
    who = lab.romana("ipam", "who", probes[0].ip, "-o", "json").json
    assert (who["state"], who["pod"]["name"]) == ("held", "one")
    with Container(lab, "node-2") as container:
        done = container.call("ADD")
        assert done.code == 0, done.out
        assert done.json["ips"][0]["address"].split("/")[0] not in {probe.ip for probe in probes}


@pytest.mark.parametrize("daemon", ["ipamd", "etcd"])
def test_add_answers_code_11_in_bounded_time_while_the_store_is_away(lab: Lab, probes: list[Pod], daemon: str) -> None:
    seconds: list[float] = []

    def add() -> None:
        with frozen(lab.status()["control"]["pids"][daemon]), Container(lab, "node-1") as container:
            began = time.monotonic()
            done = container.call("ADD")
            seconds.append(time.monotonic() - began)
            assert (done.code, done.json["code"]) == (1, 11), done.out
            assert not [link for link in container.ip("link", "show") if link["ifname"] == "eth0"]

    flow = traffic_during(probes, add)
    assert (flow.broken, flow.lost) == ("", 0)
    assert seconds[0] < ADD_BOUND_S  # the promise itself, not a speed
    assert lab.romana("status", "--wait").code == 0
    with Container(lab, "node-1") as container:
        assert container.call("ADD").code == 0


def test_del_succeeds_while_ipamd_is_away_and_the_address_is_released_later(lab: Lab) -> None:
    with Container(lab, "node-3") as container:
        ip = container.call("ADD").json["ips"][0]["address"].split("/")[0]
        with frozen(lab.status()["control"]["pids"]["ipamd"]):
            done = container.call("DEL")
            assert done.code == 0, done.out
            assert not [route for route in lab.routes("node-3") if route["dst"] == ip]
        assert eventually(lambda: lab.romana("ipam", "who", ip, "-o", "json").json["state"] in {"cooling", "free"})


def test_a_pod_that_could_not_be_added_leaves_no_record_and_waiting_is_told(lab: Lab) -> None:
    with frozen(lab.status()["control"]["pids"]["etcd"]):
        done = run([ROMANA, "lab", "pod", "add", "late", "--lab", lab.name, "--node", "node-1"])
        assert done.code == 3, done.err
        assert "waiting for etcd" in done.err
        assert lab.status()["pods"] == []
    lab.add_pod("late", "node-1")
    assert lab.delete_pod("late").code == 0


def test_what_could_not_be_undone_is_named_and_pod_del_finishes_it(lab: Lab) -> None:
    program = Path(lab.node("node-1")["cni_bin"])
    aside = program.with_name("aside")
    program.rename(aside)
    try:
        program.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
        program.chmod(0o755)
        done = run([ROMANA, "lab", "pod", "add", "odd", "--lab", lab.name, "--node", "node-1"])
        assert (done.code, "not undone: attachment" in done.err, "lab pod del odd" in done.err) == (3, True, True), done.err
        assert lab.romana("store", "get", "pods/default/odd").code == 1
    finally:
        aside.rename(program)
    assert lab.delete_pod("odd").code == 0
    assert lab.status()["pods"] == []


def test_routes_that_somebody_else_changed_are_repaired(lab: Lab, probes: list[Pod]) -> None:
    netns = Path(lab.node("node-1")["netns"]).name

    def ours() -> list[str]:
        return sorted(f"{route['type']} {route['dst']}" for route in lab.routes("node-1") if route.get("protocol") == "82")

    before = ours()
    assert len(before) >= 3
    for line in before:
        kind, destination = line.split()
        run(["ip", "-n", netns, "route", "delete", kind, destination])
    assert eventually(lambda: ours() == before)
    foreign = ["198.51.100.0/24", "via", "192.0.2.1", "proto", "static"]
    assert run(["ip", "-n", netns, "route", "add", *foreign]).code == 0
    assert run(["ip", "-n", netns, "route", "delete", *foreign]).code == 0


def is_released(lab: Lab, container: Container) -> bool:
    """True when etcd has no attachment of it."""
    return container.id not in lab.romana("store", "list", "attachments/node-1/").out


def test_add_killed_at_once_leaves_nothing_after_del(lab: Lab) -> None:
    async def kill_after(container: Container, delay_s: float) -> None:
        call = asyncio.create_task(asyncio.to_thread(container.call, "ADD"))
        await asyncio.sleep(delay_s)
        agent = next(node for node in lab.status()["nodes"] if node["name"] == "node-1")["pids"]["agent"]
        if agent:
            os.kill(agent, signal.SIGKILL)
        await call

    for delay_s in (0.0, 0.02, 0.05):
        with Container(lab, "node-1") as container:
            asyncio.run(kill_after(container, delay_s))
            assert eventually(lambda container=container: container.call("DEL").code == 0)  # type: ignore[misc]  # bound default
            assert eventually(functools.partial(is_released, lab, container))
