"""Leaks are found, and repaired on the second sighting only; a live attachment is never touched, whatever comes between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ipam.check.decision import findings
from ipam.check.finding import Kind, Presence
from ipam.check.reading import whole
from ipam.check.repairs import Outcome, Repairs
from ipam.commit import Committer, Txn
from ipam.invariants import faults
from ipam.records import AttachmentId
from romana import keys
from romana.errors import InvalidInput
from romana.store.api import Put, Store, TxnResult
from romana.v1 import check_pb2, ipam_pb2, store_pb2
from tests.etcd.damage import endpoint_key, forget, key, lose_attachment, replace_node, stray_endpoint
from tests.fakes.losing_store import LosingStore
from tests.fakes.speaking_node import SpeakingNode, speaking
from tests.ipamd import Calls, Clock, Running, attachment, flat, running, write_pod

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
"""The damage; in which boot the agent of n1 says to be, which sees c2's interface alone (empty: it is silent); what is found."""


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
            before = await _held(store)
            assert await run.ipamd.reconciler.sync() == 0
            clock.now_s += APART_S - 1
            assert await run.ipamd.reconciler.sync() == 0
            assert await _held(store) == before
            clock.now_s += 1
            wanted = sum(finding.repair is not None for finding in found)
            assert wanted >= 1
            assert await run.ipamd.reconciler.sync() == wanted
            assert await run.ipamd.reconciler.sync() == 0
        left = findings(await whole(store), _presences(boot_id))
        assert [finding for finding in left if finding.repair] == []
        assert [fault for fault in await faults(store) if "its node is" not in fault] == []  # c2 lives on


async def _held(store: Store) -> list[tuple[str, int]]:
    """Attachments, addresses and endpoints with their revisions."""
    items = [item for prefix in (keys.ATTACHMENTS, keys.ADDRESSES, keys.ENDPOINTS) for item in (await store.list(prefix)).items]
    return [(item.key, item.mod_revision) for item in items]


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


async def _interrupted(
    run: Running, store: Store, kind: Kind, presences: dict[str, Presence], before: Callable[[], Awaitable[object]]
) -> Outcome:
    """Repair the leak of c1 of this kind; `before` happens after all was decided, just before it is written."""

    class Late(Committer):
        async def commit(self, txn: Txn) -> TxnResult:
            await before()
            return await super().commit(txn)

    repairs = Repairs(store, Late(store, run.ipamd.state.committed), lambda: 1_700_000_000_000, 0)
    (leak,) = [one for one in findings(await whole(store), presences) if one.kind is kind and one.repair]
    return await repairs.repair(leak, presences)


async def test_add_in_the_last_moment_keeps_the_address_that_a_reboot_left(store: Store) -> None:
    async with running(store) as run:
        await _two_pods(run)
        late = lambda: _allocate(run, "boot-2")  # noqa: E731
        assert await _interrupted(run, store, Kind.ATTACHMENT_BOOT_REPLACED, _presences("boot-2"), late) is Outcome.CHANGED
        assert (await _allocate(run, "boot-2")).existing
        assert await faults(store, {key("n1", "c1"): "10.40.0.0"}) == []


async def test_node_that_is_added_again_in_the_last_moment_keeps_what_lives_on_it(store: Store) -> None:
    async with running(store) as run:
        await _two_pods(run)
        uid = (await run.node("n1")).node.uid
        await run.release("n1", "c2")
        await delete_node(store)

        async def late() -> None:
            await run.add_node("n1", uid=uid)
            assert (await _allocate(run, "boot-1")).existing

        assert await _interrupted(run, store, Kind.ATTACHMENT_NODE_GONE, {}, late) is Outcome.CHANGED
        assert await faults(store, {key("n1", "c1"): "10.40.0.0"}) == []


async def test_add_in_the_last_moment_of_an_attachment_that_was_lost_leaves_its_old_address_for_later(store: Store) -> None:
    async with running(store, check_apart_s=0) as run:
        await _two_pods(run)
        await no_attachment(store)
        await _seen(run, store)
        late = lambda: _allocate(run, "boot-1")  # noqa: E731
        assert await _interrupted(run, store, Kind.ADDRESS_NO_ATTACHMENT, _presences("boot-1"), late) is Outcome.CHANGED
        assert (await _allocate(run, "boot-1")).addresses[0].ip == "10.40.0.2"
        assert await faults(store, {key("n1", "c1"): "10.40.0.2"}) == [
            "address pods/10.40.0.0 is held, its attachment has it not",
            f"attachment {AttachmentId('n1', 'romana', 'c1', 'eth0')} has not one endpoint with its addresses",
        ]
        async with speaking(run, SpeakingNode("n1", "boot-1", ["c1", "c2"])):
            assert await run.ipamd.reconciler.sync() == 0
            assert await run.ipamd.reconciler.sync() == 1  # the old endpoint; the address may be on the interface that is there
        (left,) = [one for one in findings(await whole(store), {}) if one.kind is not Kind.ATTACHMENT_NO_INTERFACE]
        assert (left.kind, left.repair, left.ip) == (Kind.ADDRESS_NO_ATTACHMENT, None, "10.40.0.0")


async def test_endpoint_of_a_late_add_stays_when_the_stray_one_goes(store: Store) -> None:
    async with running(store) as run:
        await _two_pods(run)
        await no_attachment(store)
        late = lambda: _allocate(run, "boot-1")  # noqa: E731
        assert await _interrupted(run, store, Kind.ENDPOINT_NO_ATTACHMENT, _presences("boot-1"), late) is Outcome.REPAIRED
        assert await store.get(endpoint_key("c1")) is None
        endpoints = [store_pb2.Endpoint.FromString(item.value) for item in (await store.list(keys.ENDPOINTS)).items]
        assert ["10.40.0.2"] in [list(endpoint.addresses) for endpoint in endpoints]


async def test_what_nobody_can_tell_counts_as_live(store: Store) -> None:
    async with running(store, check_apart_s=0) as run:
        await _two_pods(run)
        await write_pod(store, "default", "web", "u1")
        await run.allocate("n2", "c4", ("default", "web", "u1"))
        await another_incarnation(store)  # and its agent is silent
        await forget(store, keys.node("n2"))  # and c3's agent says that it is there, the Pod object that c4 runs
        await no_attachment(store)
        await _seen(run, store)
        before = await _held(store)
        async with speaking(run, SpeakingNode("n2", "boot-2", ["c3"])):
            for _ in range(3):
                assert await run.ipamd.reconciler.sync() == 0
        async with speaking(run, SpeakingNode("n1", "boot-2", ["c1", "c2"]), SpeakingNode("n2", "boot-2", ["c3"])):
            for _ in range(3):
                assert await run.ipamd.reconciler.sync() == 0
        assert await _held(store) == before


async def test_leaks_of_a_live_node_are_left_to_its_agent(store: Store) -> None:
    """It alone can keep an ADD out, which would bring the attachment back without a write."""
    async with running(store, check_apart_s=0) as run:
        await _two_pods(run)
        (found,) = findings(await whole(store), _presences("boot-1"))
        assert (found.kind, found.repair) == (Kind.ATTACHMENT_NO_INTERFACE, None)
        assert "agent.stale_after_s" in found.action
        async with speaking(run, SpeakingNode("n1", "boot-1", ["c2"])):
            for _ in range(3):
                assert await run.ipamd.reconciler.sync() == 0
        assert (await _allocate(run, "boot-1")).existing


async def test_answer_to_an_earlier_question_counts_for_nothing(store: Store) -> None:
    """An agent that looked before it was asked may not have seen an ADD that came between."""
    async with running(store, check_apart_s=0) as run:
        await _two_pods(run)
        node = SpeakingNode("n1", "boot-2", [])
        await node.call(run)
        request = check_pb2.AskPresenceRequest(nodes=["n1"], wait_ms=100)

        async def ask() -> list[check_pb2.Presence]:
            answer = await run.leaks(lambda stub, left: stub.AskPresence(request, timeout=left))
            return list(answer.presences)

        stale = check_pb2.Presence(node="n1", boot_id="boot-2", question=1)
        asking = asyncio.create_task(ask())
        for _ in range(3):
            told = ipam_pb2.RecoveryRequest(node="n1", boot_id="boot-2", presence=stale)
            await run.ipam(lambda stub, left, told=told: stub.Recovery(told, timeout=left))  # type: ignore[misc]
        assert await asking == []


async def test_two_reconcilers_at_once_repair_each_leak_once(store: Store) -> None:
    async with running(store, check_apart_s=0) as one, running(store, check_apart_s=0) as two:
        await _two_pods(one)
        for number in range(4, 12):
            await one.ip("n1", f"c{number}")
        await delete_node(store)
        for run in (one, two):
            await _seen(run, store)
            assert await run.ipamd.reconciler.sync() == 0
        done = await asyncio.gather(one.ipamd.reconciler.sync(), two.ipamd.reconciler.sync())
        assert sum(done) == 10
        assert len((await store.list(keys.JOURNAL)).items) == 10
        assert (await store.list(f"{keys.ATTACHMENTS}n1/")).items == ()
        assert await faults(store) == []


@pytest.mark.parametrize("when", ["after", "before"])
async def test_repair_whose_answer_is_lost_is_made_once(store: Store, when: str) -> None:
    losing = LosingStore(store, lambda _: "")
    async with running(losing, check_apart_s=0) as run:
        await _two_pods(run)
        await delete_node(store)
        await _seen(run, store)
        assert await run.ipamd.reconciler.sync() == 0
        losing.lose(when)
        assert await run.ipamd.reconciler.sync() == 2
        assert losing.lost >= 1
        assert len((await store.list(keys.JOURNAL)).items) == 2
        assert await faults(store) == []


async def test_nothing_is_repaired_while_the_store_recovers(store: Store) -> None:
    async with running(store, check_apart_s=0) as run:
        await _two_pods(run)
        await delete_node(store)
        await _seen(run, store)
        assert await run.ipamd.reconciler.sync() == 0
        (*_, leak) = [one for one in findings(await whole(store), {}) if one.repair]

        async def late() -> None:
            await store.txn([], [Put(keys.RESTORED, b"")])

        repairs_now = _interrupted(run, store, Kind.ATTACHMENT_NODE_GONE, {}, late)
        await forget(store, key("n1", "c2"), endpoint_key("c2"), "addresses/pods/10.40.0.1")
        assert await repairs_now is Outcome.CHANGED
        assert leak
        assert await run.ipamd.reconciler.sync() == 0
        assert await store.get(key("n1", "c1")) is not None


async def test_repair_of_what_is_no_finding_writes_nothing(store: Store) -> None:
    async with running(store) as run:
        await _two_pods(run)
        before = await _held(store)
        request = check_pb2.RepairRequest(
            findings=[check_pb2.FindingRef(kind="attachment-node-gone", subject=key("n1", "c1"), node="n1")]
        )
        answer = await run.leaks(lambda stub, left: stub.Repair(request, timeout=left))
        assert [one.state for one in answer.outcomes] == [check_pb2.REPAIR_STATE_CHANGED]
        odd = check_pb2.RepairRequest(findings=[check_pb2.FindingRef(kind="odd", subject="x")])
        with pytest.raises(InvalidInput, match="kind 'odd' is none"):
            await run.leaks(lambda stub, left: stub.Repair(odd, timeout=left))
        assert await _held(store) == before
