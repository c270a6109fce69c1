"""A group's runs of taken blocks agree with a plain set of numbers."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from ipam.blocks import GroupBlocks, group_blocks
from ipam.topology.carving import Prefix
from ipam.topology.splitting import subprefix

PREFIX = Prefix("pods", "pods", "all", IPv4Network("10.0.0.0/24"), pad=False, block_mask=29)
TOTAL = 32

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, TOTAL - 1)), max_size=80)


def runs_of(numbers: set[int]) -> list[tuple[int, int]]:
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number + 1 for number in numbers if number + 1 not in numbers)
    return list(zip(starts, ends, strict=True))


def block(number: int) -> IPv4Network:
    cidr = subprefix(PREFIX.cidr, PREFIX.block_mask, number)
    assert isinstance(cidr, IPv4Network)
    return cidr


@given(CHANGES)
def test_runs_are_the_set_of_taken_blocks(changes: list[tuple[bool, int]]) -> None:
    group: GroupBlocks = group_blocks(PREFIX)
    numbers: set[int] = set()
    for take, number in changes:
        group = group.with_taken(block(number)) if take else group.with_free(block(number))
        numbers = numbers | {number} if take else numbers - {number}
        assert list(zip(group.starts, group.ends, strict=True)) == runs_of(numbers)
    assert group.taken == len(numbers)
    assert [group.is_taken(block(number)) for number in range(TOTAL)] == [number in numbers for number in range(TOTAL)]
    free = [number for number in range(TOTAL) if number not in numbers]
    assert group.lowest_free() == (block(free[0]) if free else None)
    assert group == group_blocks(PREFIX, map(block, numbers))
