"""Weighted and explicit splits, against a model that marks slots one by one."""

from ipaddress import IPv4Network, collapse_addresses

from hypothesis import given
from hypothesis import strategies as st

from ipam.topology.splitting import Share, split

PARENT = IPv4Network("10.0.0.0/8")
WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def marked(weights: list[int]) -> list[int | None]:
    """Which group each slot belongs to: the first free run of so many slots that begins at a multiple of its length."""
    slots: list[int | None] = []
    for index, weight in enumerate(weights):
        size = 1
        while size < weight:
            size *= 2
        while len(slots) % size:
            slots.append(None)
        slots += [index] * size
    while len(slots) & (len(slots) - 1):
        slots.append(None)
    return slots


@given(WEIGHTS)
def test_weighted_groups_stand_where_slots_are_marked(weights: list[int]) -> None:
    slots = marked(weights)
    bits = len(slots).bit_length() - 1
    expected: dict[int, list[IPv4Network]] = {}
    for number, index in enumerate(slots):
        if index is not None:
            expected.setdefault(index, []).append(list(PARENT.subnets(bits))[number])
    found = {part.index: part.cidr for part in split(PARENT, [Share(weight) for weight in weights]) if part.index < len(weights)}
    assert found == {index: next(iter(collapse_addresses(cidrs))) for index, cidrs in expected.items()}


@given(WEIGHTS, st.booleans())
def test_parts_cover_the_parent_and_overlap_nothing(weights: list[int], given_explicitly: bool) -> None:
    parts = split(PARENT, [Share(weight) for weight in weights])
    if given_explicitly:  # the same groups, each where it came to stand
        cidrs = {part.index: part.cidr for part in parts}
        parts = split(PARENT, [Share(cidr=cidrs[index]) for index in range(len(weights))])
        assert {part.index: part.cidr for part in parts if part.index < len(weights)} == {
            index: cidrs[index] for index in range(len(weights))
        }
    assert sum(part.cidr.num_addresses for part in parts) == PARENT.num_addresses
    assert list(collapse_addresses(part.cidr for part in parts if isinstance(part.cidr, IPv4Network))) == [PARENT]
    assert [int(part.cidr.network_address) for part in parts] == sorted(int(part.cidr.network_address) for part in parts)
    assert sorted(part.index for part in parts) == list(range(len(parts)))
