"""What a restored store is recognised by, and what may be written into it again."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ipam.history import FORMER_MAX, UNSEEN, HistoryRecord, Seen, Verdict, judge, renewed, waiting
from ipam.reasserting import Block, Heard, Rewrite, Scene, Stopped, decide, stale
from ipam.records import AddressRecord, Assigned, AttachmentId, AttachmentRecord, BlockRecord, NodeRecord, TopologyRecord
from ipam.topology.placement import Placement
from ipam.topology.reading import read_document
from tests.ipamd import flat

HISTORY = HistoryRecord("h2", 7, ("h1", "h0"))


@pytest.mark.parametrize(
    ("record", "cluster", "revision", "seen", "verdict"),
    [
        (HISTORY, 7, 100, UNSEEN, Verdict.SAME),
        (HISTORY, 7, 100, Seen("h2", 100), Verdict.SAME),
        (HISTORY, 7, 100, Seen("h2", 101), Verdict.RESTORED),
        (HISTORY, 7, 100, Seen("h1", 999), Verdict.FORMER),
        (HISTORY, 7, 100, Seen("h0", 1), Verdict.FORMER),
        (HISTORY, 7, 100, Seen("h3", 1), Verdict.RESTORED),  # a recovery that the store has forgotten
        (HISTORY, 8, 100, UNSEEN, Verdict.RESTORED),
        (HISTORY, 8, 100, Seen("h2", 1), Verdict.RESTORED),
        (None, 7, 1, UNSEEN, Verdict.SAME),  # a new store
        (None, 7, 1, Seen("h2", 1), Verdict.RESTORED),  # an emptied one
    ],
)
def test_a_store_is_judged_by_what_was_seen(
    record: HistoryRecord | None, cluster: int, revision: int, seen: Seen, verdict: Verdict
) -> None:
    assert judge(record, cluster, revision, seen) is verdict


def test_after_a_recovery_nobody_who_saw_an_ended_history_begins_another() -> None:
    for record in (HISTORY, None):
        new = renewed(record, "h9", 8, (Seen("h5", 3), UNSEEN))
        assert judge(new, 8, 1, Seen("h5", 3)) is Verdict.FORMER
        assert judge(new, 8, 1, UNSEEN) is Verdict.SAME
        assert all(judge(new, 8, 1, Seen(old, 999)) is Verdict.FORMER for old in ((record.id, *record.former) if record else ()))


def test_only_so_many_ended_histories_are_kept_the_newest_first() -> None:
    record = HISTORY
    for number in range(2 * FORMER_MAX):
        record = renewed(record, f"n{number}", 7, ())
    assert record.former == tuple(f"n{number}" for number in range(2 * FORMER_MAX - 2, FORMER_MAX - 2, -1))


def test_further_goes_on_in_one_history_and_starts_anew_in_another() -> None:
    assert Seen("h1", 9).further("h1", 5) == Seen("h1", 9)
    assert Seen("h1", 9).further("h1", 15) == Seen("h1", 15)
    assert Seen("h1", 9).further("h2", 5) == Seen("h2", 5)


def test_nodes_of_the_store_and_those_that_called_are_waited_for_until_heard() -> None:
    assert waiting(["n2", "n1"], ["n1"], ["n9", "n2"]) == ["n2", "n9"]


NET = ip_network("10.40.0.0/16")
BLOCK = ip_network("10.40.0.8/29")
IP = Assigned("pods", ip_address("10.40.0.9"), BLOCK)
PLACE = Placement("pods", "pods", "everyone", NET)
NODE = NodeRecord("n1", "u1", (), (), (PLACE,))
MINE = AttachmentId("n1", "romana", "c1", "eth0")
OTHER = AttachmentId("n2", "romana", "c2", "eth0")
LIVES = AttachmentRecord(MINE, "u1", "boot", None, (IP,), 5)
TOPOLOGY = TopologyRecord.of(read_document(json.dumps(flat("10.40.0.0/16", 29)).encode()), 1)
HELD = AddressRecord("pods", IP.ip, BLOCK, OTHER, None, 1)
COOLING = replace(HELD, released_ms=3)
LARGER = BlockRecord("pods", ip_network("10.40.0.0/28"), "n3", "u3")
THEIRS = BlockRecord("pods", BLOCK, "n2", "u2")


def scene(
    address: AddressRecord | None = None,
    block: BlockRecord | None = None,
    heard: Heard = Heard.NOTHING,
    held: int = 0,
    others: tuple[BlockRecord, ...] = (),
    topology: TopologyRecord | None = TOPOLOGY,
) -> Scene:
    return Scene(NODE, topology, {IP: address}, {IP: block}, {"n2": heard}, {BLOCK: held}, others)


def test_a_lost_address_is_written_and_its_block_claimed_moved_or_kept() -> None:
    own = BlockRecord("pods", BLOCK, "n1", "u1")
    assert decide(LIVES, scene(block=own)) == Rewrite((Block.OWN,))
    assert decide(LIVES, scene()) == Rewrite((Block.CLAIM,))
    assert decide(LIVES, scene(COOLING, own)) == Rewrite((Block.OWN,))
    assert decide(LIVES, scene(block=replace(own, node_uid="older"))) == Rewrite((Block.MOVE,))
    for heard in (Heard.ALL, Heard.SPOKEN, Heard.GIVEN_UP):
        assert decide(LIVES, scene(block=THEIRS, heard=heard)) == Rewrite((Block.MOVE,))


@pytest.mark.parametrize(
    ("found", "blocking", "words"),
    [
        (scene(HELD), True, "that node has not re-asserted yet"),
        (scene(HELD, heard=Heard.ALL), False, "delete one of the two pods"),
        (scene(HELD, heard=Heard.SPOKEN), False, "delete one of the two pods"),
        (scene(replace(HELD, attachment=replace(MINE, container_id="c9"))), False, "delete one of the two pods"),
        (scene(replace(HELD, attachment=None)), False, "cannot be read"),
        (scene(block=THEIRS), True, "which has not re-asserted yet"),
        (scene(block=THEIRS, heard=Heard.ALL, held=1), True, "make the pod anew"),
        (scene(topology=None), True, "apply the topology that was in force"),
        (scene(others=(LARGER,)), True, "overlaps block 10.40.0.0/28 of node n3"),
    ],
)
def test_what_is_in_the_way_is_named_and_blocks_as_long_as_the_store_does_not_hold_the_address(
    found: Scene, blocking: bool, words: str
) -> None:
    stopped = decide(LIVES, found)
    assert isinstance(stopped, Stopped)
    assert (stopped.blocking, words in stopped.reason) == (blocking, True), stopped.reason


def test_of_a_node_that_was_given_up_the_holder_is_displaced() -> None:
    own = BlockRecord("pods", BLOCK, "n1", "u1")
    assert decide(LIVES, scene(HELD, own, Heard.GIVEN_UP)) == Rewrite((Block.OWN,), (OTHER,))


def test_a_block_of_another_size_or_group_asks_for_the_old_topology() -> None:
    smaller = Assigned("pods", IP.ip, ip_network("10.40.0.8/30"))
    outside = Assigned("pods", ip_address("10.41.0.1"), ip_network("10.41.0.0/29"))
    for address in (smaller, outside):
        found = Scene(NODE, TOPOLOGY, {address: None}, {address: None})
        stopped = decide(replace(LIVES, addresses=(address,)), found)
        assert isinstance(stopped, Stopped)
        assert stopped.blocking
        assert "apply the topology that was in force" in stopped.reason


def test_what_the_agent_knows_no_grant_of_blocks_until_the_pod_is_made_anew() -> None:
    stopped = decide(replace(LIVES, addresses=()), scene())
    assert isinstance(stopped, Stopped)
    assert (stopped.blocking, "make the pod anew" in stopped.reason) == (True, True)


def test_stale_is_what_is_neither_told_nor_there_or_was_an_earlier_life() -> None:
    known = [LIVES, replace(LIVES, id=replace(MINE, container_id="c2")), replace(LIVES, id=replace(MINE, container_id="c3"))]
    there = frozenset({known[1].id.host_interface})
    assert stale(known, {MINE: LIVES}, there) == [known[2].id]
    elsewhere = replace(LIVES, addresses=(Assigned("pods", ip_address("10.40.0.10"), BLOCK),))
    assert stale([LIVES], {MINE: elsewhere}, frozenset()) == [MINE]
    assert stale([LIVES], {MINE: replace(LIVES, addresses=())}, frozenset()) == []
