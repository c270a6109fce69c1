"""Policy and the life of pods: ADD without policyd, objects that go before their attachment, addresses that come again."""

import asyncio
import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from policyd.policy import ObjectName
from romana.lab import processes
from romana.netlink.netns import call_in
from romana.objects.kinds import POD
from romana.objects.manifest import Identity
from tests.e2e.cni_call import Container
from tests.e2e.conftest import Lab, bring_up, eventually, take_down
from tests.e2e.policy_guard import BACK, FROM_FRONTENDS, FRONT, node_of, policyd, reaches, seen_during
from tests.e2e.policy_own_cases import OWN_CASES, network_policy
from tests.e2e.policy_world import Stage, World, place_of, pod_document, stage
from tests.e2e.test_faults import ADD_BOUND_S, frozen

pytestmark = [pytest.mark.e2e]

SMALL = {
    "networks": [{"name": "pods", "cidr": "10.41.0.0/29", "block_mask": 30}],
    "topologies": [{"networks": ["pods"], "map": [{"name": "everyone", "groups": []}]}],
}
"""Eight addresses for two nodes: one that is released has to be given out again at once."""


Without = Callable[[World, str], AbstractContextManager[None]]


@contextmanager
def hanging(world: World, node: str) -> Iterator[None]:
    """policyd does not answer."""
    with frozen(policyd(world, node).pid):
        yield


@contextmanager
def absent(world: World, node: str) -> Iterator[None]:
    """policyd is not there, and nobody starts it again."""
    supervisor = processes.read_one(world.lab, "supervisor")
    assert supervisor is not None
    with frozen(supervisor.pid):
        gone = policyd(world, node)
        gone.signal(signal.SIGKILL)
        assert eventually(lambda: not gone.alive)
        yield


@pytest.mark.parametrize("without", [hanging, absent])
def test_add_without_policyd_answers_code_11_in_bounded_time_and_leaves_nothing(
    lab: Lab, live: Stage, guarded: World, without: Without
) -> None:
    node = node_of(guarded, BACK)
    attachments = set(lab.romana("store", "list", f"attachments/{node}/").out.splitlines())

    def add() -> None:
        with Container(lab, node) as container:
            with without(guarded, node):
                done = container.call("ADD")
                assert (done.code, done.json["code"]) == (1, 11), done.out
                assert "policy" in done.json["msg"] + done.json.get("details", "")
                assert not [link for link in container.ip("link", "show") if link["ifname"] == "eth0"]
                assert set(lab.romana("store", "list", f"attachments/{node}/").out.splitlines()) <= attachments
            assert eventually(lambda: container.call("ADD").code == 0)

    async def bounded() -> None:
        async with asyncio.timeout(2 * ADD_BOUND_S):  # the promise, and once more for the ADD that works
            await asyncio.to_thread(add)

    seen = seen_during(live, bounded)
    assert (seen.leaked, seen.lost) == ([], [])
    assert lab.romana("status", "--wait").code == 0


def test_a_pod_whose_object_is_deleted_neither_sends_nor_receives_nor_does_a_new_object_of_its_name_help(
    live: Stage, guarded: World
) -> None:
    probe, log = ObjectName("ops", "probe"), ObjectName("ops", "log")

    async def cells() -> list[bool]:
        await guarded.settle()
        return [await reaches(guarded, *pair) for pair in ((probe, FRONT), (FRONT, probe), (probe, log), (log, FRONT))]

    async def story() -> list[list[bool]]:
        found = [await cells()]
        await guarded.delete(Identity(POD, *probe))
        found.append(await cells())
        await guarded.apply(pod_document(probe, OWN_CASES[0].cluster["pods"][2], place_of(probe)))
        found.append(await cells())  # a new uid: another pod, which has no network yet
        await guarded.detach(probe)
        return found

    shut = [False, False, False, True]
    assert live.run(story()) == [[True, True, True, True], shut, shut]


def test_relabelling_by_the_command_line_takes_effect_at_both_ends(lab: Lab, live: Stage, guarded: World) -> None:
    front = OWN_CASES[0].cluster["pods"][0]

    def relabel(role: str) -> None:
        document = pod_document(FRONT, {**front, "labels": {"role": role}}, place_of(FRONT))
        done = lab.romana("apply", "-f", "-", "--wait", stdin=json.dumps(document))
        assert done.code == 0, done.err

    found = []
    for role in ("former", "frontend"):
        relabel(role)
        found.append(live.run(reaches(guarded, FRONT, BACK)))
    assert found == [False, True]


@pytest.fixture
def small(tmp_path: Path, lab: Lab) -> Iterator[Stage]:
    """A lab of two nodes with four addresses each."""
    topology = tmp_path / "small.json"
    topology.write_text(json.dumps(SMALL))
    name = f"{lab.name}-s"
    try:
        bring_up(name, "--nodes", "2", "--topology", str(topology))
        with stage(name) as made:
            yield made
    finally:
        take_down(name)


def test_an_address_that_comes_again_has_none_of_its_former_pods_rights(small: Stage) -> None:
    """Not by labels, and not by a flow that the former pod had open: the new one goes on with the same ports."""
    world, pod = small.world, OWN_CASES[0].cluster["pods"][0]
    old, heir = ObjectName("shop", "old"), ObjectName("shop", "heir")

    async def story() -> None:
        await world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        await world.attach(BACK, {**pod, "labels": {"role": "backend"}}, "node-2")
        for name in (old, *(ObjectName("shop", f"filler-{number}") for number in range(3))):
            await world.attach(name, pod, "node-1")
        await world.apply(network_policy("backend", FROM_FRONTENDS))
        await world.settle()
        with call_in(world.attached[BACK].fd, lambda: _udp(5000)) as server:
            assert await asyncio.to_thread(_arrives, world, old, server)
            address = world.addresses[old]
            await world.detach(old)
            await world.attach(heir, {**pod, "labels": {"role": "other"}}, "node-1")
            assert world.addresses[heir] == address
            assert not await asyncio.to_thread(_arrives, world, heir, server)
            await world.settle()
            assert not await asyncio.to_thread(_arrives, world, heir, server)
            assert not await reaches(world, heir, BACK)
            assert await reaches(world, BACK, heir)

    small.run(story())


def _udp(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", port))  # noqa: S104 - inside a pod
    made.settimeout(0.5)
    return made


def _arrives(world: World, source: ObjectName, server: socket.socket) -> bool:
    """Whether a datagram from port 6000 of a pod, and the answer to it, get through."""
    with call_in(world.attached[source].fd, lambda: _udp(6000)) as client:
        for _ in range(3):
            client.sendto(b"?", (str(world.addresses[BACK]), 5000))
        try:
            server.sendto(*server.recvfrom(64))
            return bool(client.recv(64))
        except TimeoutError:
            return False
