"""Order of choice, claiming ahead, and what is said when a group is full."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from ipam.allocator import Holdings, Pick, PickKind, after, choose, counts, leaves_reserve, next_block, wants_next_block
from ipam.blocks import Block, GroupBlocks, group_blocks
from ipam.topology.carving import Prefix
from romana.errors import Exhausted, InvalidInput


def group(cidr: str = "10.40.0.0/16", block_mask: int = 29, taken: tuple[str, ...] = ()) -> GroupBlocks:
    prefix = Prefix("pods", "pods/0", "rack-1", ip_network(cidr), pad=False, block_mask=block_mask)
    return group_blocks(prefix, [ip_network(block) for block in taken])


def give(holdings: Holdings, count: int, now_s: float = 0.0) -> tuple[Holdings, list[Pick]]:
    picks = []
    for _ in range(count):
        picks.append(choose(holdings, now_s))
        holdings = after(holdings, picks[-1])
    return holdings, picks


def test_first_addresses_are_the_whole_block_then_the_next_free_block() -> None:
    holdings, picks = give(Holdings("n1", group(taken=("10.40.0.8/29",))), 9)
    assert [str(pick.ip) for pick in picks] == [f"10.40.0.{n}" for n in range(8)] + ["10.40.0.16"]
    assert [pick.kind for pick in picks] == [PickKind.NEW_BLOCK] + [PickKind.FRESH] * 7 + [PickKind.NEW_BLOCK]
    assert [str(block.cidr) for block in holdings.blocks] == ["10.40.0.0/29", "10.40.0.16/29"]


def test_two_nodes_of_a_group_take_turns() -> None:
    first, _ = give(Holdings("n1", group()), 1)
    second, picks = give(Holdings("n2", first.group), 1)
    assert str(picks[0].ip) == "10.40.0.8"
    assert second.group.taken == 2


def test_released_address_is_reused_last() -> None:
    holdings, _ = give(Holdings("n1", group()), 3)
    holdings = holdings.with_cooling(IPv4Address("10.40.0.0"), ready_s=10)
    holdings, picks = give(holdings, 6, now_s=100)
    assert [str(pick.ip) for pick in picks] == [f"10.40.0.{n}" for n in (3, 4, 5, 6, 7, 0)]
    assert picks[-1].kind is PickKind.COOLED


def test_cooled_addresses_come_oldest_release_first_over_all_blocks() -> None:
    holdings, _ = give(Holdings("n1", group("10.40.0.0/28", 30)), 8)
    for ip, ready_s in (("10.40.0.2", 30), ("10.40.0.5", 10), ("10.40.0.1", 20)):
        holdings = holdings.with_cooling(IPv4Address(ip), ready_s)
    _, picks = give(holdings, 3, now_s=30)
    assert [str(pick.ip) for pick in picks] == ["10.40.0.5", "10.40.0.1", "10.40.0.2"]


def test_releases_seen_at_one_moment_come_in_the_order_of_the_wall_clock() -> None:
    holdings, _ = give(Holdings("n1", group("10.40.0.0/30", 30)), 4)
    for ip, released_s in (("10.40.0.0", 500.0), ("10.40.0.1", 300.0)):
        holdings = holdings.with_cooling(IPv4Address(ip), ready_s=30, released_s=released_s)
    assert str(choose(holdings, now_s=30).ip) == "10.40.0.1"


def test_new_block_is_claimed_before_a_cool_down_is_cut_short() -> None:
    holdings, _ = give(Holdings("n1", group("10.40.0.0/29", 30)), 4)
    holdings = holdings.with_cooling(IPv4Address("10.40.0.1"), ready_s=50)
    holdings, picks = give(holdings, 5, now_s=49)
    assert picks[0].kind is PickKind.NEW_BLOCK
    assert picks[-1] == Pick(PickKind.STILL_COOLING, IPv4Address("10.40.0.1"), IPv4Network("10.40.0.0/30"))


def test_exhausted_names_network_group_owner_and_a_cure() -> None:
    holdings, _ = give(Holdings("n1", group("10.40.0.0/30", 31)), 4)
    with pytest.raises(Exhausted) as caught:
        choose(holdings, now_s=0)
    for part in ("network pods", "pods/0 (rack-1, 10.40.0.0/30)", "n1", "all its 2 blocks of /31", "add a network"):
        assert part in str(caught.value)
    with pytest.raises(Exhausted, match="none of them by it"):
        choose(Holdings("n2", holdings.group), now_s=0)


def test_after_is_idempotent() -> None:
    holdings = Holdings("n1", group())
    pick = choose(holdings, 0)
    assert after(after(holdings, pick), pick) == after(holdings, pick)


@pytest.mark.parametrize(
    ("held", "cooling", "wants"), [(0, 0, False), (5, 0, False), (6, 0, True), (5, 1, True), (8, 0, True), (0, 6, True)]
)
def test_next_block_is_wanted_at_three_quarters(held: int, cooling: int, wants: bool) -> None:
    holdings, picks = give(Holdings("n1", group()), max(held + cooling, 1))
    for pick in picks[held:]:
        holdings = holdings.with_cooling(pick.ip, ready_s=30)
    if held + cooling == 0:
        holdings = holdings.without_address(picks[0].ip)
    assert wants_next_block(holdings, now_s=29) is wants
    assert next_block(holdings, now_s=29) == (IPv4Network("10.40.0.8/29") if wants else None)


def test_next_block_is_wanted_at_start_and_not_when_there_is_none() -> None:
    assert wants_next_block(Holdings("n1", group()), now_s=0)
    assert not wants_next_block(Holdings("n1", group("10.40.0.0/29", 29, ("10.40.0.0/29",))), now_s=0)


@pytest.mark.parametrize(
    ("blocks", "taken", "bare_nodes", "leaves"),
    [(1, 1, 0, True), (1, 1, 2, True), (1, 1, 3, False), (1, 3, 1, False), (1, 3, 0, True), (0, 3, 5, True), (2, 4, 0, False)],
)
def test_a_block_ahead_leaves_one_for_every_node_of_the_group_without(
    blocks: int, taken: int, bare_nodes: int, leaves: bool
) -> None:
    four = group("10.40.0.0/28", 30, tuple(f"10.40.0.{4 * number}/30" for number in range(taken)))
    own = tuple(Block(IPv4Network(f"10.40.0.{4 * number}/30")) for number in range(blocks))
    assert leaves_reserve(Holdings("n1", four, own), bare_nodes) is leaves


def test_cooled_addresses_do_not_make_a_node_claim() -> None:
    holdings, picks = give(Holdings("n1", group()), 8)
    for pick in picks:
        holdings = holdings.with_cooling(pick.ip, ready_s=30)
    assert wants_next_block(holdings, now_s=29)
    assert not wants_next_block(holdings, now_s=30)


def test_counts_are_all_addresses() -> None:
    holdings, _ = give(Holdings("n1", group()), 5)
    holdings = holdings.with_cooling(IPv4Address("10.40.0.0"), 10).with_cooling(IPv4Address("10.40.0.1"), 20)
    tally = counts(holdings, now_s=10)
    assert (tally.free, tally.held, tally.cooling, tally.cooled) == (3, 3, 1, 1)


def test_ipv6_blocks_of_any_size() -> None:
    holdings, picks = give(Holdings("n1", group("fd00::/48", 64, ("fd00::/64",))), 2)
    assert [pick.ip for pick in picks] == [IPv6Address("fd00:0:0:1::"), IPv6Address("fd00:0:0:1::1")]
    assert counts(holdings, 0).free == 2**64 - 2


def test_address_outside_the_own_blocks_is_an_error() -> None:
    holdings, _ = give(Holdings("n1", group()), 1)
    with pytest.raises(InvalidInput, match=r"10\.40\.0\.8 is in no block of n1"):
        holdings.with_held(IPv4Address("10.40.0.8"))
    with pytest.raises(InvalidInput, match=r"10\.40\.0\.8 is not in block"):
        Block(IPv4Network("10.40.0.0/29")).with_held(IPv4Address("10.40.0.8"))


@pytest.mark.parametrize("block", ["10.41.0.0/29", "fd00::/125"])
def test_block_outside_the_group_is_an_error(block: str) -> None:
    with pytest.raises(InvalidInput, match="is not in group pods/0"):
        group().with_taken(ip_network(block))


def test_block_of_another_size_is_never_overlapped() -> None:
    taken = group(taken=("10.40.0.0/28", "10.40.0.20/30"))
    assert taken.lowest_free() == IPv4Network("10.40.0.24/29")
    assert taken.with_free(IPv4Network("10.40.0.0/28")).lowest_free() == IPv4Network("10.40.0.0/29")


def test_a_far_block_costs_no_memory() -> None:
    taken = group("fd00::/16", 125, ("fd00:ffff::/125",)).with_taken(IPv6Network("fd00::/125"))
    assert (taken.starts[0], len(taken.starts)) == (0, 2)
    assert taken.lowest_free() == IPv6Network("fd00::8/125")
