"""Which groups are full, who is short in them, and what is said to help."""

from ipaddress import IPv4Address, ip_network

from ipam.allocator import Holdings, after, choose
from ipam.blocks import GroupBlocks, group_blocks, ranges_of
from ipam.fullness import GroupUse, Need, OwnerUse, ShortOwner, full_groups
from ipam.records import Share
from ipam.topology.carving import Prefix

NOW_S = 100.0


def group(*taken: str, reserved: str = "") -> GroupBlocks:
    prefix = Prefix("pods", "pods/0", "rack-1", ip_network("10.40.0.0/28"), pad=False, block_mask=30)
    ranges = ranges_of([ip_network(reserved)] if reserved else [])
    return group_blocks(prefix, [ip_network(block) for block in taken], ranges)


FULL = group("10.40.0.0/28")


def use(node: str, held: int, blocks: tuple[str, ...] = ("10.40.0.0/30",), cooling_until_s: float | None = None) -> OwnerUse:
    holdings = Holdings(node, FULL)
    for block in blocks:
        holdings = holdings.with_block(FULL.new_block(ip_network(block)))
    for _ in range(held):
        holdings = after(holdings, choose(holdings, NOW_S))
    if cooling_until_s is not None:
        holdings = holdings.with_cooling(IPv4Address("10.40.0.0"), cooling_until_s)
    return OwnerUse(node, Share(), holdings)


def needs(*owners: OwnerUse) -> dict[str, Need]:
    (found,) = full_groups([GroupUse(FULL, owners)], NOW_S)
    return {owner.node: owner.need for owner in found.owners}


def test_group_with_a_free_block_is_not_full_however_short_its_nodes_are() -> None:
    assert full_groups([GroupUse(group("10.40.0.0/29"), [use("n1", 4)])], NOW_S) == ()


def test_owners_are_told_apart_by_what_is_left_to_them() -> None:
    owners = [
        use("roomy", 2),
        use("near", 3),
        use("rests", 4, cooling_until_s=NOW_S + 1),
        use("rested", 4, cooling_until_s=NOW_S),
        use("out", 4),
        use("bare", 0, blocks=()),
    ]
    expected = {"bare": Need.OUT, "out": Need.OUT, "rests": Need.COOLING, "near": Need.NEAR, "rested": Need.NEAR}
    assert needs(*owners) == expected
    assert list(needs(*owners)) == ["bare", "out", "rests", "near", "rested"]  # most urgent first


def test_group_is_urgent_only_when_a_next_pod_would_suffer() -> None:
    (by_design,) = full_groups([GroupUse(FULL, [use("roomy", 0), use("near", 3)])], NOW_S)
    assert not by_design.urgent
    (short,) = full_groups([GroupUse(FULL, [use("roomy", 0), use("out", 4)])], NOW_S)
    assert short.urgent
    assert ShortOwner("out", "", "", Need.OUT) in short.owners


def test_what_would_help_is_named_as_far_as_it_is_so() -> None:
    (plain,) = full_groups([GroupUse(FULL, ())], NOW_S)
    assert (plain.blocks, plain.reserved, plain.returning) == (4, 0, 0)
    assert not any("reserv" in line or "wait" in line for line in plain.help)
    kept = group("10.40.0.0/29", reserved="10.40.0.8/29")
    (found,) = full_groups([GroupUse(kept, (), returning=2)], NOW_S)
    assert (found.reserved, found.returning) == (2, 2)
    assert found.help[0].startswith("wait: 2 blocks")
    assert any("romana ipam release-reservation" in line for line in found.help)


def test_tenants_share_is_named() -> None:
    owner = OwnerUse("n1", Share("payments", "web"), use("n1", 4).holdings)
    (found,) = full_groups([GroupUse(FULL, [owner])], NOW_S)
    assert str(found.owners[0]) == "n1, tenant payments, segment web (out)"
