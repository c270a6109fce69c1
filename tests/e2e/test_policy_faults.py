"""Whatever happens to policyd, its rules or the store: nothing forbidden gets through, and what is permitted goes on."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping

import pytest
from pyroute2 import IPSet

from romana import keys
from romana.lab import processes
from romana.netlink.netns import call_in
from romana.store.api import Delete, Put
from tests.e2e.conftest import Lab
from tests.e2e.policy_guard import (
    BACK,
    FORBIDDEN,
    FRONT,
    enforced_anew,
    node_of,
    on_node,
    policyd,
    reaches,
    reborn,
    seen_during,
    until,
)
from tests.e2e.policy_world import NODES, Stage, World
from tests.e2e.test_faults import frozen

pytestmark = [pytest.mark.e2e]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_policyd_that_ends_and_starts_again_opens_nothing_and_loses_nothing(live: Stage, guarded: World, number: int) -> None:
    async def end() -> None:
        for node in (*NODES, node_of(guarded, BACK)):
            before = policyd(guarded, node)
            before.signal(signal.Signals(number))
            await reborn(guarded, node, before)
            print(f"policyd of {node} ended; what is written then is in force after {await enforced_anew(guarded):.2f} s")

    seen = seen_during(live, end)
    assert (seen.leaked, seen.lost) == ([], [])


def test_a_policyd_that_hangs_leaves_the_rules_in_force(live: Stage, guarded: World) -> None:
    async def hang() -> None:
        with frozen(policyd(guarded, node_of(guarded, BACK)).pid):
            await asyncio.sleep(2)
        await enforced_anew(guarded)

    seen = seen_during(live, hang)
    assert (seen.leaked, seen.lost) == ([], [])


def test_with_etcd_away_policy_stays_even_when_policyd_starts_again(live: Stage, guarded: World) -> None:
    async def lose() -> None:
        node = node_of(guarded, BACK)
        before, etcd = policyd(guarded, node), processes.read_one(guarded.lab, "etcd")
        assert etcd is not None
        with frozen(etcd.pid):
            before.signal(signal.SIGKILL)
            await reborn(guarded, node, before)
            await asyncio.sleep(3)
        print(f"etcd is back; what is written then is in force after {await enforced_anew(guarded):.2f} s")

    seen = seen_during(live, lose)
    assert (seen.leaked, seen.lost) == ([], [])


@pytest.mark.parametrize("arguments", ["-F", "-F ROMANA-FORWARD", "-F ROMANA-IN", "-D FORWARD 1"])
def test_rules_that_somebody_removed_are_back_and_nothing_leaks_after_that(live: Stage, guarded: World, arguments: str) -> None:
    """Until policyd looks again, a packet filter without rules lets everything through; that window is printed."""
    node, moments = node_of(guarded, BACK), list[float]()

    async def rules() -> str:
        return await on_node(guarded, node, "iptables-legacy", "--wait", "-S")

    async def remove() -> None:
        before = await rules()
        moments.append(time.monotonic())
        await on_node(guarded, node, "iptables-legacy", "--wait", *arguments.split())

        async def back() -> bool:
            return without_epoch(await rules()) == without_epoch(before)

        print(f"iptables {arguments}: seen to be repaired after {await until(back):.2f} s")
        moments.append(time.monotonic())

    seen = seen_during(live, remove)
    answered = sorted(moment for one in seen.forbidden for moment in one.answered)
    print(f"{len(answered)} forbidden attempts answered, within {seen.window_s(seen.forbidden):.3f} s")
    assert seen.lost == []
    assert all(moments[0] <= moment <= moments[1] for moment in answered)


@pytest.mark.parametrize("prefix", ["rom-self", "rom-i", "rom-"])
def test_sets_that_somebody_emptied_open_nothing_and_are_filled_again(live: Stage, guarded: World, prefix: str) -> None:
    fd = os.open(f"/run/netns/{guarded.lab.netns(node_of(guarded, BACK))}", os.O_RDONLY | os.O_CLOEXEC)
    before = call_in(fd, sizes)

    async def empty() -> None:
        call_in(fd, lambda: flush(prefix))

        async def full() -> bool:
            return call_in(fd, sizes) == before

        print(f"{prefix}*: filled again after {await until(full):.2f} s")

    try:
        seen = seen_during(live, empty)
    finally:
        os.close(fd)
    print(f"{seen.fresh.unanswered} of {seen.fresh.tried} new connections, {seen.flow.lost} datagrams of {seen.flow.sent} lost")
    assert seen.leaked == []
    assert not seen.flow.broken
    if prefix == "rom-i":  # the gate is whole: what was judged goes on
        assert seen.flow.lost == 0


@pytest.mark.parametrize("value", [b"\xff\xfe", b""], ids=["garbage", "empty"])
def test_a_policy_that_cannot_be_read_opens_nothing_and_status_names_it(
    lab: Lab, live: Stage, guarded: World, value: bytes
) -> None:
    key = keys.policy("shop", "NetworkPolicy", "bad")

    async def put() -> list[bool]:
        written = await guarded.store.txn([], [Put(key, value)])
        guarded.expect({keys.POLICIES: written.revision})
        await guarded.settle()
        return [await reaches(guarded, *pair) for pair in (*FORBIDDEN, (FRONT, BACK))]

    async def remove() -> list[bool]:
        written = await guarded.store.txn([], [Delete(key)])
        guarded.expect({keys.POLICIES: written.revision})
        await guarded.settle()
        return [await reaches(guarded, *pair) for pair in (*FORBIDDEN, (FRONT, BACK))]

    try:
        assert live.run(put()) == [False, False, False]
        status = lab.romana("status", "-o", "json")
        checks = {check["id"]: check for check in status.json["checks"] if not check["ok"]}
        assert status.code == 1
        assert set(checks) == {f"policyd on {node}" for node in NODES}
        assert all("shop/bad" in check["evidence"] for check in checks.values())
    finally:
        assert live.run(remove()) == [False, False, True]
    done = lab.romana("status", "--wait")
    assert done.code == 0, done.out


def without_epoch(rules: str) -> str:
    """Rules as `iptables -S` prints them, but for the mark that changes whenever connections are judged anew."""
    return "\n".join(line for line in rules.splitlines() if "connmark" not in line.lower())


def sizes() -> Mapping[str, int]:
    """How many members each of our sets in this network namespace has."""
    with IPSet() as sets:
        listed = {name: next(iter(sets.list(name))) for name in _names(sets)}
        return {name: len(found.get_attr("IPSET_ATTR_ADT")["attrs"]) for name, found in listed.items()}


def flush(prefix: str) -> None:
    """`ipset flush` of our sets whose names begin so."""
    with IPSet() as sets:
        for name in _names(sets):
            if name.startswith(prefix):
                sets.flush(name)


def _names(sets: IPSet) -> list[str]:
    names = (str(found.get_attr("IPSET_ATTR_SETNAME")) for found in sets.list())
    return [name for name in names if name.startswith("rom-")]
