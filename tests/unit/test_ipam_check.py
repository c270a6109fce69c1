"""What a check finds in a snapshot, and what counts as seen twice: pure, by tables."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ipam.check.decision import Sightings, findings
from ipam.check.finding import Fact, Finding, Kind, Presence, Repair
from ipam.check.liveness import Life, judge
from ipam.check.snapshot import EndpointRecord, Kept, PodRecord, Snapshot
from ipam.holdings import Holding
from ipam.records import (
    AddressRecord,
    Assigned,
    AttachmentId,
    AttachmentRecord,
    BlockRecord,
    NodeRecord,
    PodId,
    ReservationRecord,
    TopologyRecord,
    address_key,
    block_key,
)
from ipam.topology.placement import Placement
from ipam.topology.reading import read_document
from romana import keys

DOCUMENT = (
    b'{"networks": [{"name": "p", "cidr": "10.0.0.0/24", "block_mask": 29}],'
    b' "topologies": [{"networks": ["p"], "map": [{"name": "a"}]}]}'
)
BLOCK = ip_network("10.0.0.0/29")
POD = PodId("default", "web", "u1")
PLACE = Placement("p", "p", "a", ip_network("10.0.0.0/24"))


def node(name: str = "n1", uid: str = "uid-1") -> NodeRecord:
    return NodeRecord(name, uid, (), (), (PLACE,))


def attachment(container: str = "c1", ip: str = "10.0.0.1", name: str = "n1", uid: str = "uid-1") -> AttachmentRecord:
    assigned = Assigned("p", ip_address(ip), BLOCK)
    return AttachmentRecord(AttachmentId(name, "c", container, "eth0"), uid, "boot-1", POD, (assigned,), 1000)


def held(record: AttachmentRecord, **changes: object) -> AddressRecord:
    (assigned,) = record.addresses
    address = AddressRecord("p", assigned.ip, assigned.block, record.id, record.pod, record.created_ms)
    return replace(address, **changes)  # type: ignore[arg-type]


def endpoint(record: AttachmentRecord) -> EndpointRecord:
    return EndpointRecord(tuple(str(one.ip) for one in record.addresses), record.id.node, record.id.host_interface)


def snapshot(*records: AttachmentRecord, **changes: object) -> Snapshot:
    """A store in which nothing is wrong, with these attachments on n1; then `changes`."""
    addresses = [held(record) for record in records]
    block = BlockRecord("p", BLOCK, "n1", "uid-1")
    whole = Snapshot(
        9,
        TopologyRecord.of(read_document(DOCUMENT), 1),
        {"n1": Kept("nodes/n1", 2, node())},
        {block_key("p", BLOCK): Kept(block_key("p", BLOCK), 3, block)},
        {address_key("p", one.ip): Kept(address_key("p", one.ip), 4, one) for one in addresses},
        {record.id.key: Kept(record.id.key, 4, record) for record in records},
        {record.endpoint_keys[0]: Kept(record.endpoint_keys[0], 4, endpoint(record)) for record in records},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def presence(*records: AttachmentRecord, boot_id: str = "boot-1") -> dict[str, Presence]:
    return {"n1": Presence("n1", boot_id, frozenset(record.id.host_interface for record in records))}


def kinds(found: Iterable[Finding]) -> list[tuple[Kind, Repair | None]]:
    return [(finding.kind, finding.repair) for finding in found]


def test_nothing_is_wrong_where_nothing_is() -> None:
    record = attachment()
    for presences in ({}, presence(record), presence(record, boot_id="boot-2")):
        assert findings(snapshot(record), presences) == []


NO_NODE: dict[str, Kept[NodeRecord]] = {}
OTHER = {"n1": Kept("nodes/n1", 8, node(uid="uid-2"))}
UNREADABLE = {"n1": Kept("nodes/n1", 8, node(uid=""))}


@pytest.mark.parametrize(
    ("nodes", "there", "boot", "pod", "life"),
    [
        (None, None, "", None, Life.LIVES),
        (None, True, "boot-2", None, Life.LIVES),
        (None, False, "boot-1", None, Life.NO_INTERFACE),
        (None, False, "boot-2", None, Life.BOOT_REPLACED),
        (NO_NODE, None, "", None, Life.NODE_GONE),
        (NO_NODE, False, "boot-2", None, Life.NODE_GONE),
        (NO_NODE, True, "boot-1", None, Life.DOUBTED),
        (NO_NODE, None, "", PodRecord("u1", "n1", finished=False), Life.DOUBTED),
        (NO_NODE, None, "", PodRecord("", "", finished=False), Life.DOUBTED),
        (NO_NODE, None, "", PodRecord("u1", "n1", finished=True), Life.NODE_GONE),
        (NO_NODE, None, "", PodRecord("u2", "n1", finished=False), Life.NODE_GONE),
        (NO_NODE, None, "", PodRecord("u1", "n2", finished=False), Life.NODE_GONE),
        (OTHER, None, "", None, Life.DOUBTED),
        (OTHER, True, "boot-1", None, Life.DOUBTED),
        (OTHER, False, "boot-2", None, Life.NODE_REPLACED),
        (OTHER, False, "boot-2", PodRecord("u1", "n1", finished=False), Life.DOUBTED),
        (UNREADABLE, None, "", None, Life.LIVES),
    ],
)
def test_only_who_surely_lives_no_more_is_dead(
    nodes: dict[str, Kept[NodeRecord]] | None, there: bool | None, boot: str, pod: PodRecord | None, life: Life
) -> None:
    record = attachment()
    changes: dict[str, object] = {} if nodes is None else {"nodes": nodes}
    if pod is not None:
        changes["pods"] = {keys.pod("default", "web"): Kept(keys.pod("default", "web"), 5, pod)}
    presences = {} if there is None else presence(*([record] if there else []), boot_id=boot)
    judged = judge(snapshot(record, **changes), presences, "n1", record.id.host_interface, uid="uid-1", boot_id="boot-1", pod=POD)
    assert judged.life is life


def test_two_attachments_with_one_address_are_told_and_neither_is_touched() -> None:
    one, two = attachment("c1"), attachment("c2")
    found = snapshot(one, two)  # the address is held by c2
    (doubled,) = findings(found, {})
    assert (doubled.kind, doubled.repair, doubled.ip) == (Kind.ADDRESS_DOUBLED, None, "10.0.0.1")
    assert {one.id.key, two.id.key} < {fact.what for fact in doubled.evidence}
    cooling = {address_key("p", ip_address("10.0.0.1")): Kept("addresses/p/10.0.0.1", 6, held(one, released_ms=5))}
    assert {finding.repair for finding in findings(replace(found, addresses=cooling), {})} == {None}


def test_address_that_an_attachment_claims_does_not_cool_though_its_record_names_another() -> None:
    one, gone = attachment("c1"), attachment("c9")
    stolen = {address_key("p", ip_address("10.0.0.1")): Kept("addresses/p/10.0.0.1", 6, held(gone))}
    assert kinds(findings(snapshot(one, addresses=stolen), presence(one))) == [(Kind.ADDRESS_DOUBLED, None)]


def test_lost_address_is_held_again_only_where_the_block_is_still_the_nodes() -> None:
    record = attachment()
    nothing: dict[str, object] = {"addresses": {}}
    assert kinds(findings(snapshot(record, **nothing), {})) == [(Kind.ATTACHMENT_ADDRESS_LOST, Repair.HOLD)]
    assert kinds(findings(snapshot(record, **nothing, blocks={}), {})) == [(Kind.ATTACHMENT_ADDRESS_LOST, None)]


def test_what_cannot_be_read_is_told_and_stands_for_what_lives() -> None:
    record = attachment()
    damaged = snapshot(record, attachments={record.id.key: Kept(record.id.key, 7, None)}, nodes={})
    found = findings(damaged, presence())
    assert (Kind.ATTACHMENT_UNREADABLE, None) in kinds(found)
    assert {finding.repair for finding in found} == {None}


def test_blocks_reservations_and_the_journal_are_told_and_left() -> None:
    record = attachment()
    wide, strange = ip_network("10.0.0.0/28"), ip_network("10.9.0.0/29")
    blocks = {
        block_key("p", cidr): Kept(block_key("p", cidr), 3, BlockRecord("p", cidr, "n1", uid))
        for cidr, uid in ((BLOCK, "uid-1"), (wide, "uid-1"), (strange, "uid-1"), (ip_network("10.0.0.32/29"), "uid-9"))
    }
    reserved = [
        ReservationRecord("p", ip_network("10.0.0.0/30"), confirmed=True),
        ReservationRecord("p", ip_network("10.0.0.64/30"), confirmed=False),
        ReservationRecord("p", ip_network("10.8.0.0/30"), confirmed=True),
        ReservationRecord("p", ip_network("10.0.0.128/30"), confirmed=True),
    ]
    reservations = {str(one.cidr): Kept(keys.reservation("p", one.cidr), 3, one) for one in reserved}
    spans = [(10, 20), (15, 30), (30, 40), (50, 45)]
    journal = [Kept(f"journal/{n}", 1, (Holding("p", record.id, None, *span), "10.0.0.1")) for n, span in enumerate(spans)]
    found = findings(
        snapshot(record, blocks=blocks, reservations=reservations, journal=[*journal, Kept("journal/x", 1, None)]), {}
    )
    assert sorted(finding.kind for finding in found) == sorted(
        [
            Kind.BLOCK_MISPLACED,
            Kind.BLOCK_MISPLACED,
            Kind.BLOCK_OVERLAP,
            Kind.RESERVATION_HELD,
            Kind.RESERVATION_OUTSIDE,
            Kind.RESERVATION_UNCONFIRMED,
            Kind.JOURNAL_BACKWARDS,
            Kind.JOURNAL_OVERLAP,
            Kind.JOURNAL_UNREADABLE,
        ]
    )
    assert {finding.repair for finding in found} == {None}


def finding(revision: int = 4, repair: Repair | None = Repair.RELEASE, since_ms: int = 0) -> Finding:
    fact = Fact("attachments/n1/c/c1/eth0", revision, "10.0.0.1")
    return Finding(Kind.ATTACHMENT_NODE_GONE, fact.what, "n1", "10.0.0.1", (fact,), "release it", repair, since_ms)


@pytest.mark.parametrize(
    ("second", "after_s", "is_confirmed"),
    [
        (finding(), 30.0, True),
        (finding(since_ms=7), 30.0, True),
        (finding(), 29.9, False),
        (finding(revision=5), 30.0, False),
        (finding(repair=None), 30.0, False),
    ],
)
def test_confirmed_is_what_was_seen_before_on_the_same_evidence_long_enough_ago(
    second: Finding, after_s: float, is_confirmed: bool
) -> None:
    sightings, confirmed = Sightings().seen([finding()], 100.0, 30.0)
    assert confirmed == ()
    assert sightings.seen([second], 100.0 + after_s, 30.0)[1] == ((second,) if is_confirmed else ())


def test_first_sighting_confirms_nothing_even_with_no_time_between() -> None:
    assert Sightings().seen([finding()], 5.0, 0.0)[1] == ()


def test_what_was_gone_in_between_begins_anew() -> None:
    sightings, _ = Sightings().seen([finding()], 0.0, 30.0)
    sightings, _ = sightings.seen([], 20.0, 30.0)
    sightings, confirmed = sightings.seen([finding()], 40.0, 30.0)
    assert confirmed == ()
    assert sightings.seen([finding()], 70.0, 30.0)[1] == (finding(),)
