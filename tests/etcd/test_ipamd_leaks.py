"""Leaks are found, and repaired on the second sighting only; a live attachment is never touched, whatever comes between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ipam.check.decision import findings
from ipam.check.finding import Finding, Kind, Presence, Repair
from ipam.check.reading import whole
from ipam.check.repairs import Outcome, Repairs
from ipam.commit import Committer
from ipam.invariants import faults
from romana import keys
from romana.errors import InvalidInput
from romana.store.api import Delete, Put, Store
from romana.v1 import check_pb2, ipam_pb2, store_pb2
from romana.v1.check_pb2_grpc import CheckStub
from tests.etcd.damage import endpoint_key, forget, key, lose_attachment, replace_node, stray_endpoint
from tests.fakes.speaking_node import SpeakingNode, speaking
from tests.ipamd import Calls, Clock, Running, attachment, flat, running

Damage = Callable[[Store], Awaitable[None]]
APART_S = 30.0


async def boot_anew(store: Store) -> None:
    """Nothing in the store changes."""


async def delete_node(store: Store) -> None:
    await forget(store, keys.node("n1"))


async def another_incarnation(store: Store) -> None:
    await replace_node(store, "n1", "uid-2")


async def no_attachment(store: Store) -> None:
    await lose_attachment(store, "n1", "c1")


async def only_the_address(store: Store) -> None:
    await forget(store, key("n1", "c1"), endpoint_key("c1"))


async def no_endpoint(store: Store) -> None:
    await forget(store, endpoint_key("c2"))


async def no_address(store: Store) -> None:
    await forget(store, "addresses/pods/10.40.0.1")


async def stray(store: Store) -> None:
    await stray_endpoint(store, "n1", "c9", "10.40.0.7")


CASES: list[tuple[Damage, str, set[Kind]]] = [
    (boot_anew, "boot-2", {Kind.ATTACHMENT_BOOT_REPLACED}),
    (delete_node, "", {Kind.ATTACHMENT_NODE_GONE, Kind.BLOCK_OWNER_GONE}),
    (another_incarnation, "boot-1", {Kind.ATTACHMENT_NODE_REPLACED, Kind.BLOCK_OWNER_GONE}),
    (no_attachment, "boot-1", {Kind.ADDRESS_NO_ATTACHMENT, Kind.ENDPOINT_NO_ATTACHMENT}),
    (only_the_address, "boot-1", {Kind.ADDRESS_NO_ATTACHMENT}),
    (no_endpoint, "boot-1", {Kind.ATTACHMENT_NO_ENDPOINT, Kind.ATTACHMENT_NO_INTERFACE}),
    (no_address, "boot-1", {Kind.ATTACHMENT_ADDRESS_LOST, Kind.ATTACHMENT_NO_INTERFACE}),
    (stray, "boot-1", {Kind.ENDPOINT_NO_ATTACHMENT, Kind.ATTACHMENT_NO_INTERFACE}),
]
"""The damage; in which boot the agent of n1 says to be, which sees an interface of c2 alone (empty: it is silent); what is found."""


async def _two_pods(run: Running) -> None:
    await run.apply(flat())
    await run.add_node("n1")
    await run.add_node("n2")
    assert await run.ip("n1", "c1") == "10.40.0.0"
    assert await run.ip("n1", "c2") == "10.40.0.1"
    await run.ip("n2", "c3")


def _presences(boot_id: str) -> dict[str, Presence]:
    node = SpeakingNode("n1", boot_id, ["c2"])
    return {"n1": Presence("n1", boot_id, frozenset(node.interfaces))} if boot_id else {}


@pytest.mark.parametrize(("damage", "boot_id", "kinds"), CASES, ids=[case[0].__name__ for case in CASES])
async def test_leak_is_found_with_its_evidence_and_repaired_at_the_second_sighting_only(
    store: Store, damage: Damage, boot_id: str, kinds: set[Kind]
) -> None:
    clock = Clock()
    async with running(store, clock=clock, check_apart_s=APART_S) as run:
        await _two_pods(run)
        assert findings(await whole(store), {}) == []
        await damage(store)
        found = findings(await whole(store), _presences(boot_id))
        assert {finding.kind for finding in found} == kinds
        evidence = {fact.what: fact.revision for finding in found for fact in finding.evidence if fact.is_key}
        items = {item.key: item.mod_revision for item in (await store.list("")).items}
        assert evidence == {name: items.get(name, 0) for name in evidence}
        await _seen(run, store)
        async with speaking(run, *([SpeakingNode("n1", boot_id, ["c2"])] if boot_id else [])):
            before = (await store.list("")).revision
            assert await run.ipamd.reconciler.sync() == 0
            clock.now_s += APART_S - 1
            assert await run.ipamd.reconciler.sync() == 0
            assert (await store.list("")).revision == before
            clock.now_s += 1
            wanted = sum(finding.repair is not None for finding in found)
            assert wanted >= 1
            assert await run.ipamd.reconciler.sync() == wanted
            assert await run.ipamd.reconciler.sync() == 0
        left = findings(await whole(store), _presences(boot_id))
        assert [finding for finding in left if finding.repair] == []
        assert [fault for fault in await faults(store) if "its node is no more" not in fault] == []


async def _seen(run: Running, store: Store) -> None:
    """Until ipamd has heard of what was written past it."""
    state = run.ipamd.state
    async with asyncio.timeout(60):
        for prefix, table in ((keys.NODES, state.nodes), (keys.ADDRESSES, state.addresses)):
            stored = {item.key: item.mod_revision for item in (await store.list(prefix)).items}
            while {row.key: row.mod_revision for row in table.rows.values()} != stored:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.01)


async def _first_sighting(run: Running, store: Store, clock: Clock) -> None:
    """The reconciler has seen what there is, and would repair it next time."""
    await _seen(run, store)
    assert await run.ipamd.reconciler.sync() == 0
    assert run.ipamd.reconciler.suspects
    clock.now_s += APART_S


async def _allocate(run: Calls, boot_id: str) -> ipam_pb2.AllocateResponse:
    """ADD of n1's c1, in this boot."""
    request = ipam_pb2.AllocateRequest(attachment=attachment("n1", "c1"), boot_id=boot_id)
    return await run.ipam(lambda stub, left: stub.Allocate(request, timeout=left))


async def test_add_after_a_reboot_between_the_sightings_keeps_its_address(store: Store) -> None:
    clock = Clock()
    async with running(store, clock=clock, check_apart_s=APART_S) as run:
        await _two_pods(run)
        node = SpeakingNode("n1", "boot-2", ["c2"])
        async with speaking(run, node):
            await _first_sighting(run, store, clock)
            answer = await _allocate(run, "boot-2")
            assert answer.existing
            assert await run.ipamd.reconciler.sync() == 0  # its interface is not there yet, and it is of this boot
            clock.now_s += APART_S
            assert await run.ipamd.reconciler.sync() == 0
        item = await store.get(key("n1", "c1"))
        assert item is not None
        assert store_pb2.Attachment.FromString(item.value).boot_id == "boot-2"
        assert item.mod_revision == answer.revision
        assert await faults(store, {key("n1", "c1"): "10.40.0.0"}) == []


class Interrupting:
    """Does something just before a repair is written: after the second sighting, and after ipamd has decided anew."""

    def __init__(self, run: Running, store: Store, before: Callable[[], Awaitable[object]]) -> None:
        committer = Committer(store, run.ipamd.state.committed)
        commit = committer.commit

        async def interrupted(txn):  # type: ignore[no-untyped-def]
            await before()
            return await commit(txn)

        committer.commit = interrupted  # type: ignore[method-assign]
        self.repairs = Repairs(store, committer, lambda: 1_700_000_000_000, 0)


async def test_add_between_the_decision_and_the_write_keeps_its_address(store: Store) -> None:
    """Each kind of leak of c1; the late ADD comes in the last moment there is."""
    for damage, boot_id in ((boot_anew, "boot-2"), (no_attachment, "boot-1"), (only_the_address, "boot-1"), (delete_node, "")):
        async with running(store, cooldown_s=0) as run:
            await _two_pods(run)
            await damage(store)
            presences = _presences(boot_id)
            leaks = [one for one in findings(await whole(store), presences) if one.repair and "c1" in str(one)]
            assert leaks
            for leak in leaks:

                async def add() -> None:
                    if damage is delete_node:  # noqa: B023 - called in this round
                        await run.add_node("n1", uid=leak.evidence[0].text)  # noqa: B023
                    await _allocate(run, "boot-2" if boot_id == "boot-2" else "boot-1")  # noqa: B023

                outcome = await Interrupting(run, store, add).repairs.repair(leak, presences)
                told = (await _allocate(run, boot_id or "boot-1")).addresses[0].ip if damage is not delete_node else ""
                item = await store.get(key("n1", "c1"))
                assert item is not None
                assert told in {"", store_pb2.Attachment.FromString(item.value).addresses[0].ip}
                assert outcome in {Outcome.CHANGED, Outcome.REPAIRED}
                if leak.repair is Repair.RELEASE:
                    assert outcome is Outcome.CHANGED
        for item in (await store.list("")).items:
            await forget(store, item.key)
