"""The hammer's checker finds what is broken, by the invariant that it breaks; and nothing in what is not."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ipam import codec, codec_address
from ipam.invariants import faults
from ipam.records import PodId, ReservationRecord
from romana import keys
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.ledger import Ledger
from romana.store.api import Delete, Op, Put
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from tests.hammered import COOLDOWN_S, NETWORK, Followed, address, attachment, block, followed, give, node, take_back, topology

ONE = attachment("n1", "one", "10.40.0.1")
OTHER = attachment("n1", "other", "10.40.0.1")
ONE_KEY = keys.address(NETWORK, ONE.addresses[0].ip)
LATER_MS = 1_700_000_000_000 + 3_600_000
RESERVED = ReservationRecord(NETWORK, ip_network("10.40.0.0/30"), confirmed=True)
RESERVE = Put(keys.reservation(NETWORK, RESERVED.cidr), codec.write_reservation(RESERVED))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_life_without_fault_gives_no_finding() -> None:
    async with followed(MemoryStore()) as it:
        given = await it.write(*give(ONE))
        it.checker.answered(ONE.id.key, given, ("10.40.0.1",))
        released = await it.write(*take_back(ONE, released_ms=LATER_MS))
        it.checker.answered(ONE.id.key, released, None)
        it.checker.answered(ONE.id.key, given, ("10.40.0.1",))  # an answer that was long under way
        again_ms = LATER_MS + COOLDOWN_S * 1000
        await it.write(*give(OTHER, again_ms))
        await it.write(*take_back(OTHER, again_ms, released_ms=again_ms + 5))
        await it.write(Delete(ONE_KEY))
        await it.write(Delete(keys.block(NETWORK, ip_network("10.40.0.0/29"))))
        await it.write(Delete(keys.node("n1")))
        await it.write(node("n1", "n1.1"), topology(2))
        await it.checker.whole()
    assert it.findings == []
    assert it.checker.answers == 3


def _endpoint_of_nobody() -> Op:
    message = store_pb2.Endpoint(addresses=["10.40.0.5"], node="n1", host_interface="rom0")
    return Put(keys.endpoint("", "", "nobody"), message.SerializeToString())


def _moved() -> Op:
    return Put(ONE.id.key, codec_address.write_attachment(attachment("n1", "one", "10.40.0.2")))


BROKEN: dict[str, tuple[str, Callable[[], Sequence[Op]]]] = {
    "a second attachment has the address": ("I1", lambda: give(OTHER)[:2]),
    "the address goes over to another with no release": ("I1", lambda: give(OTHER)),
    "a held address is removed": ("I1", lambda: [Delete(ONE_KEY)]),
    "the attachment goes, and its address stays held": ("I1", lambda: [Delete(ONE.id.key)]),
    "an address is held by an attachment that is not there": ("I1", lambda: give(attachment("n1", "lost", "10.40.0.2"))[2:]),
    "a block overlaps another": ("I3", lambda: [block("10.40.0.0/28", "n2")]),
    "a block lies outside its group": ("I3", lambda: [block("10.99.0.0/29", "n2")]),
    "an address does not lie in its block": ("I3", lambda: give(attachment("n1", "far", "10.40.0.9"))),
    "a block with a held address changes hands": ("I4", lambda: [block("10.40.0.0/29", "n2")]),
    "an empty block changes hands with nothing between": ("I4", lambda: [block("10.40.0.8/29", "n1")]),
    "a block goes with a held address in it": ("I4", lambda: [Delete(keys.block(NETWORK, ip_network("10.40.0.0/29")))]),
    "an address of another node's block is given out": (
        "I4",
        lambda: give(attachment("n1", "thief", "10.40.0.9", cidr="10.40.0.8/29")),
    ),
    "an attachment gets other addresses": ("I5", lambda: [_moved()]),
    "an endpoint is removed": ("I5", lambda: [Delete(ONE.endpoint_keys[0])]),
    "an endpoint is nobody's": ("I5", lambda: [_endpoint_of_nobody()]),
    "a node goes with an attachment on it": ("I9", lambda: [Delete(keys.node("n1"))]),
    "a node becomes another with an attachment on it": ("I9", lambda: [node("n1", "n1.1")]),
    "two nodes have one uid": ("I9", lambda: [node("n2", "n1.0")]),
    "an attachment is of an incarnation that is no more": ("I9", lambda: give(attachment("n1", "old", "10.40.0.2", uid="gone"))),
    "a block is claimed for a node that is not there": ("I9", lambda: [block("10.40.0.16/29", "n3")]),
    "a held address is reserved": ("I10", lambda: [RESERVE]),
    "an address is released without the journal": ("I10", lambda: take_back(ONE)[:3]),
    "the journal has a release that was none": ("I10", lambda: take_back(attachment("n1", "none", "10.40.0.3"))[3:]),
    "the topology in force counts wrong": ("I12", lambda: [topology(7)]),
    "a topology leaves a block behind": ("I12", lambda: [topology(2, block_mask=28)]),
    "a topology leaves a whole network behind": ("I12", lambda: [topology(2, name="other")]),
    "a recovery begins": ("I14", lambda: [Put(keys.RESTORED, b"")]),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_breaks_an_invariant_is_found_by_its_number(what: str) -> None:
    invariant, ops = BROKEN[what]
    async with followed(MemoryStore()) as it:
        await it.write(*give(ONE))
        assert it.findings == []
        revision = await it.write(*ops())
    assert invariant in it.invariants, it.findings
    found = next(finding for finding in it.findings if finding.invariant == invariant)
    assert found.revision == revision
    assert found.keys


ONLY_ON_THE_WAY = {
    "an empty block changes hands with nothing between",
    "two nodes have one uid",
    "a block is claimed for a node that is not there",
    "an address is released without the journal",
    "the journal has a release that was none",
    "the topology in force counts wrong",
    "a recovery begins",
}


@pytest.mark.parametrize("what", sorted(BROKEN.keys() - ONLY_ON_THE_WAY))
async def test_what_a_listing_can_show_is_found_by_ipam_invariants_too(what: str) -> None:
    _, ops = BROKEN[what]
    async with followed(MemoryStore()) as it:
        await it.write(*give(ONE))
        assert await faults(it.store) == []
        await it.write(*ops())
        assert await faults(it.store) != []


async def test_an_allocation_on_a_draining_node_is_found() -> None:
    async with followed(MemoryStore()) as it:
        await it.write(node("n1", draining=True))
        await it.write(*give(ONE))
    assert it.invariants == {"I9"}


async def test_an_allocation_of_a_reserved_address_is_found_though_nobody_has_confirmed_the_reservation() -> None:
    async with followed(MemoryStore()) as it:
        await it.write(Put(RESERVE.key, codec.write_reservation(replace(RESERVED, confirmed=False))))
        await it.write(*give(ONE))
    assert it.invariants == {"I10"}


async def test_an_address_given_out_before_it_has_cooled_is_found() -> None:
    async with followed(MemoryStore()) as it:
        await it.write(*give(ONE))
        await it.write(*take_back(ONE, released_ms=LATER_MS))
        await it.write(*give(OTHER, LATER_MS + COOLDOWN_S * 1000 - 500))
    assert it.invariants == {"I11"}


async def test_a_pod_that_asks_for_an_address_may_have_it_before_it_has_cooled() -> None:
    pod = store_pb2.Pod(annotations={"romana.io/ip": "10.40.0.1"})
    async with followed(MemoryStore()) as it:
        await it.write(Put(keys.pod("default", "it"), pod.SerializeToString()))
        await it.write(*give(ONE))
        await it.write(*take_back(ONE, released_ms=LATER_MS))
        wanted = replace(OTHER, pod=PodId("default", "it"))
        held = replace(address(wanted, LATER_MS + 5), pod=wanted.pod)
        ops = [op for op in give(wanted, LATER_MS + 5) if op.key != ONE_KEY]
        await it.write(*ops, Put(ONE_KEY, codec_address.write_address(held)))
    assert it.findings == []


async def test_an_address_forgotten_before_it_has_cooled_is_found() -> None:
    async with followed(MemoryStore()) as it:
        await it.write(*give(ONE))
        await it.write(*take_back(ONE, released_ms=_now_ms()))
        await it.write(Delete(ONE_KEY))
    assert it.invariants == {"I11"}


async def test_an_answer_that_etcd_knows_nothing_of_is_found() -> None:
    async with followed(MemoryStore()) as it:
        revision = await it.write(*give(ONE))
        it.checker.answered(ONE.id.key, revision, ("10.40.0.2",))
        it.checker.answered(OTHER.id.key, revision, ("10.40.0.1",))
        it.checker.answered(ONE.id.key, revision, None)
    assert [finding.invariant for finding in it.findings] == ["I2", "I2", "I2"]


async def test_an_answer_waits_until_the_watch_is_that_far() -> None:
    async with followed(MemoryStore()) as it:
        it.checker.answered(ONE.id.key, it.checker.picture.revision + 1, ("10.40.0.1",))
        assert it.checker.answers == 0
        await it.write(*give(ONE))
        assert it.checker.answers == 1
    assert it.findings == []


async def test_a_picture_that_is_not_what_a_listing_says_is_found() -> None:
    async with followed(MemoryStore()) as it:
        await it.write(*give(ONE))
        del it.checker.picture.written[ONE_KEY]
        await it.checker.whole()
    assert it.invariants == {"I14"}


async def test_history_that_was_compacted_is_taken_as_a_whole_and_judged() -> None:
    store = MemoryStore()
    async with followed(store) as before:
        await before.write(*give(ONE))
    await store.txn([], give(OTHER)[:2])
    it = Followed(store, before.checker, before.findings)
    it.checker._take_listing(await store.list(""))
    assert it.checker.missed == 1
    assert it.invariants == {"I1"}


def _told(ledger: Ledger, key: str, *ips: str, existing: bool = False) -> list[Finding]:
    return ledger.allocated(ledger.begin(key, "n1"), ips, existing=existing)


def test_one_address_answered_to_two_that_live_is_found() -> None:
    ledger = Ledger()
    assert _told(ledger, "a", "10.0.0.1") == []
    assert [finding.invariant for finding in _told(ledger, "b", "10.0.0.1")] == ["I1"]


def test_an_address_may_be_answered_again_once_its_release_has_begun_or_its_node_goes() -> None:
    ledger = Ledger()
    _told(ledger, "a", "10.0.0.1")
    ledger.begin_release(ledger.entries["a"])
    assert _told(ledger, "b", "10.0.0.1") == []
    ledger.node_goes("n1")
    assert _told(ledger, "c", "10.0.0.1") == []
    assert _told(ledger, "b", "10.0.0.1") == []  # an answer from before: whether it lives is not known
    assert _told(ledger, "d", "10.0.0.1") == []  # it may go with the node yet
    assert ledger.living == {}
    ledger.node_went("n1")
    assert _told(ledger, "e", "10.0.0.1") == []
    assert ledger.living == {"e": ("10.0.0.1",)}


def test_a_repeat_that_is_answered_otherwise_is_found() -> None:
    ledger = Ledger()
    _told(ledger, "a", "10.0.0.1")
    assert _told(ledger, "a", "10.0.0.1", existing=True) == []
    assert [finding.invariant for finding in _told(ledger, "a", "10.0.0.2", existing=True)] == ["I5"]
    assert [finding.invariant for finding in _told(ledger, "a", "10.0.0.1", existing=False)] == ["I5"]


def test_what_was_answered_must_be_there_and_what_was_released_must_not() -> None:
    ledger = Ledger()
    _told(ledger, "a", "10.0.0.1")
    assert [finding.invariant for finding in ledger.differences({})] == ["I2"]
    assert ledger.differences({"a": ("10.0.0.1",)}) == []
    entry = ledger.entries["a"]
    ledger.begin_release(entry)
    assert ledger.differences({"a": ("10.0.0.1",)}) == []  # until it is answered, both may be
    assert ledger.differences({}) == []
    ledger.released(entry)
    assert [finding.invariant for finding in ledger.differences({"a": ("10.0.0.1",)})] == ["I8"]


def test_an_allocation_that_had_no_answer_may_come_after_its_release() -> None:
    ledger = Ledger()
    entry = ledger.begin("a", "n1")
    ledger.abandoned(entry)
    ledger.begin_release(entry)
    ledger.released(entry)
    assert ledger.differences({"a": ("10.0.0.1",)}) == []
