"""What `romana status` and `topology show` say of full groups, returning blocks and pending moves."""

import re

from romana.cli.node_life import left_lines
from romana.cli.status_topology import full_lines, topology_checks
from romana.v1.node_pb2 import DrainNodeResponse, LeftAttachment, PendingMove
from romana.v1.store_pb2 import AttachmentKey, Node, PodRef
from romana.v1.topology_pb2 import NEED_NEAR, NEED_OUT, FullGroup, ReturningBlock, ShortOwner, ShowResponse

HELP = ["remove nodes that are gone for good: romana node remove NAME", "give group pods/0 a larger prefix"]


def full(*owners: ShortOwner, urgent: bool) -> FullGroup:
    return FullGroup(
        network="pods", path="pods/0", name="rack-1", cidr="10.40.0.0/28", blocks=4, urgent=urgent, owners=owners, help=HELP
    )


OUT = ShortOwner(node="n1", need=NEED_OUT)
NEAR = ShortOwner(node="n2", tenant="payments", segment="web", need=NEED_NEAR)


def test_without_a_full_group_there_is_one_line_and_it_is_fine() -> None:
    (check,) = topology_checks(ShowResponse())
    assert (check.id, check.ok, bool(check.evidence)) == ("groups", True, True)


def test_full_group_with_nodes_that_are_short_is_a_problem_with_a_way_out() -> None:
    (check,) = topology_checks(ShowResponse(full=[full(OUT, NEAR, urgent=True)]))
    assert not check.ok
    assert "pods/0 (rack-1, 10.40.0.0/28)" in check.evidence
    assert "no address left for n1" in check.evidence
    assert "n2 (payments:web)" in check.evidence
    assert "romana node remove NAME" in check.next_step


def test_full_group_that_nobody_suffers_from_is_told_and_is_no_problem() -> None:
    (check,) = topology_checks(ShowResponse(full=[full(NEAR, urgent=False)]))
    assert check.ok
    assert "pods/0 (rack-1, 10.40.0.0/28)" in check.evidence


def test_show_says_who_is_short_and_what_would_help() -> None:
    told, helps = full_lines([full(OUT, urgent=True)])
    assert "no address left for n1" in told
    assert all(line in helps for line in HELP)


def test_many_short_nodes_are_counted() -> None:
    owners = [ShortOwner(node=f"n{number}", need=NEED_OUT) for number in range(30)]
    (check,) = topology_checks(ShowResponse(full=[full(*owners, urgent=True)]))
    assert "and 20 more" in check.evidence


def test_block_on_its_way_back_is_no_problem_and_has_its_time() -> None:
    block = ReturningBlock(network="pods", cidr="10.40.0.0/29", node="n1", cooling=2)
    block.ready.FromJsonString("2026-11-20T14:05:00Z")
    check = topology_checks(ShowResponse(returning=[block]))[1]
    assert check.ok
    assert re.search(r"10\.40\.0\.0/29 of node n1, which is gone, returns at \d\d:\d\d", check.evidence)


def test_block_that_held_addresses_keep_is_a_problem() -> None:
    check = topology_checks(ShowResponse(returning=[ReturningBlock(cidr="10.40.0.0/29", node="n1", held=1)]))[1]
    assert not check.ok
    assert "romana ipam who" in check.next_step


def test_pending_move_is_told_and_is_no_problem() -> None:
    move = PendingMove(node="n1", network="dc", before="rack-1 10.42.0.0/18", after="rack-2 10.42.64.0/18")
    check = topology_checks(ShowResponse(pending=[move]))[1]
    assert check.ok
    assert "pending move to rack-2 10.42.64.0/18 until drained" in check.evidence


def test_drain_that_gives_up_names_attachments_and_their_pods() -> None:
    key = AttachmentKey(node="n1", conf="romana", container_id="c1", ifname="eth0")
    pod = LeftAttachment(key=key, pod=PodRef(namespace="default", name="web"), addresses=["10.40.0.1"])
    lines = left_lines(DrainNodeResponse(node=Node(name="n1"), attachments=3, left=[pod, LeftAttachment(key=key)]))
    assert lines[0].strip() == "c1/eth0: pod default/web, 10.40.0.1"
    assert lines[1].strip() == "c1/eth0: no pod, no address"
    assert "and 1 more" in lines[2]


def test_drain_that_has_nothing_left_says_nothing() -> None:
    assert left_lines(DrainNodeResponse(node=Node(name="n1"))) == []
