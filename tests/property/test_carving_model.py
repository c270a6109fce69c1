"""Carving agrees with a model that knows nothing of prefixes: it paints the smallest blocks of a network, one by one.

Whole documents: nested groups, weights, explicit prefixes at any level, IPv4 and IPv6. Where the model finds no room, the
document is refused; where it finds some, the document is taken and comes out as painted, pads included.
"""

import json
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ipam.topology.carving import carve
from ipam.topology.reading import read_document
from romana.errors import InvalidInput

CELLS = 128
"""Blocks of a network: cells of the model."""
NETWORKS = (("10.0.0.0/23", 30), ("10.9.8.0/25", 32), ("fd00:10::/120", 127), ("fd00:20::/57", 64))

Run = tuple[int, int]
"""First cell and number of cells."""


@dataclass(frozen=True)
class Sort:
    """A group: what the document says of it."""

    weight: int = 1
    children: tuple["Sort", ...] = ()
    run: Run | None = None
    """The cells of its explicit prefix."""


@dataclass
class Painting:
    """What each cell belongs to."""

    cells: list[str] = field(default_factory=lambda: ["net"] * CELLS)
    fits: bool = True

    def paint(self, path: str, group: Sort, run: Run) -> None:
        """Give a run of cells to a group, and to what is below it."""
        first, count = run
        if count < 1:
            self.fits = False
            return
        self.cells[first : first + count] = [path] * count
        if group.children:
            self.paint_list(path, group.children, run)

    def paint_list(self, path: str, groups: tuple[Sort, ...], run: Run) -> None:
        first, count = run
        self.cells[first : first + count] = ["pad"] * count
        runs = explicit_runs(groups, run) if any(group.run for group in groups) else seated_runs(groups, run)
        if runs is None:
            self.fits = False
            return
        for index, group in enumerate(groups):
            self.paint(f"{path}/{index}", group, runs[index])


def seated_runs(groups: tuple[Sort, ...], run: Run) -> list[Run] | None:
    """Seats in a row, a power of two of them; a group sits where as many as it needs begin at a multiple of that many."""
    seats: list[int] = []
    for index, group in enumerate(groups):
        wide = 1
        while wide < group.weight:
            wide += wide
        while len(seats) % wide:
            seats.append(-1)
        seats.extend([index] * wide)
    while len(seats).bit_count() > 1:
        seats.append(-1)
    first, count = run
    if len(seats) > count:
        return None
    width = count // len(seats)
    return [(first + seats.index(index) * width, seats.count(index) * width) for index in range(len(groups))]


def explicit_runs(groups: tuple[Sort, ...], run: Run) -> list[Run] | None:
    """Each where the document says; none where one says nothing, two want one cell, or one lies outside."""
    parent = set(range(run[0], run[0] + run[1]))
    taken: set[int] = set()
    for group in groups:
        wanted = set(range(group.run[0], group.run[0] + group.run[1])) if group.run else set()
        if not wanted or not wanted <= parent or wanted & taken:
            return None
        taken |= wanted
    return [group.run for group in groups if group.run]


@st.composite
def lists(draw: st.DrawFn, run: Run | None, depth: int) -> tuple[Sort, ...]:
    """Siblings, in a run of cells that is known or not: by weights, or each with its prefix, or (wrongly) some of them."""
    kind = draw(st.sampled_from(["weights", "weights", "explicit", "explicit", "mixed"] if run else ["weights"] * 9 + ["mixed"]))
    first, count = run or (0, CELLS)
    if kind == "explicit" and count >= 2:
        part = count // draw(st.sampled_from([size for size in (2, 4, 8) if size <= count]))
        places = draw(st.lists(st.integers(0, count // part - 1), min_size=1, max_size=4, unique=draw(st.integers(0, 9)) > 0))
        halves = [draw(st.sampled_from([part, part, max(part // 2, 1)])) for _ in places]
        return tuple(draw(group((first + at * part, half), depth)) for at, half in zip(places, halves, strict=True))
    sizes = st.sampled_from([None, None, (first, max(count // 4, 1))]) if kind == "mixed" else st.none()
    known = run if kind == "weights" else None
    number = draw(st.integers(1, 4))
    made = [Sort(run=None)] * number
    if known is not None and (runs := seated_runs(tuple(made), known)) is not None and draw(st.booleans()):
        return tuple(draw(group(None, depth, place)) for place in runs)  # of weight 1: where they stand is known
    return tuple(draw(group(draw(sizes), depth, weighed=True)) for _ in range(number))


@st.composite
def group(draw: st.DrawFn, run: Run | None, depth: int, place: Run | None = None, weighed: bool = False) -> Sort:
    weight = draw(st.sampled_from([1, 1, 1, 1, 2, 3, 5])) if weighed else 1
    leaf = depth == 0 or draw(st.integers(0, 2)) == 0
    return Sort(weight, () if leaf else draw(lists(run or place, depth - 1)), run)


def tree(sort: Sort, name: str, base: str) -> dict[str, Any]:
    """The group as the document writes it."""
    found: dict[str, Any] = {"name": name, "groups": [tree(child, f"g{i}", base) for i, child in enumerate(sort.children)]}
    if sort.weight > 1:
        found["weight"] = sort.weight
    if sort.run:
        network = ip_network(base)
        first, count = sort.run
        cell = network.num_addresses // CELLS
        length = next(bits for bits in range(129) if 2 ** (network.max_prefixlen - bits) == count * cell)
        found["cidr"] = f"{network.network_address + first * cell}/{length}"
    return found


def painted(groups: tuple[Sort, ...]) -> Painting:
    """By Romana's rule a map of one group gives it the network whole."""
    painting = Painting()
    if len(groups) == 1 and groups[0].run is None:
        painting.paint("net", groups[0], (0, CELLS))
    else:
        painting.paint_list("net", groups, (0, CELLS))
    return painting


def carved(groups: tuple[Sort, ...], base: str, block_mask: int) -> list[str] | None:
    """What each block of the network belongs to; None where the document is refused."""
    document = {
        "networks": [{"name": "net", "cidr": base, "block_mask": block_mask}],
        "topologies": [{"networks": ["net"], "map": [tree(sort, f"g{index}", base) for index, sort in enumerate(groups)]}],
    }
    try:
        prefixes = carve(read_document(json.dumps(document).encode()))
    except InvalidInput as err:
        elsewhere = [fault for fault in err.faults if not fault.path.startswith("topologies[0].map")]
        return [str(fault) for fault in elsewhere] or None
    network = ip_network(base)
    cell = network.num_addresses // CELLS
    cells: list[str] = []
    for prefix in prefixes:
        assert int(prefix.cidr.network_address) == int(network.network_address) + len(cells) * cell  # ascending, without a gap
        assert prefix.cidr.num_addresses % cell == 0
        cells += ["pad" if prefix.pad else prefix.path] * (prefix.cidr.num_addresses // cell)
    assert len({prefix.path for prefix in prefixes}) == len(prefixes)
    return cells


def check(groups: tuple[Sort, ...], where: tuple[str, int]) -> None:
    model = painted(groups)
    event("fits" if model.fits else "does not fit")
    assert carved(groups, *where) == (model.cells if model.fits else None)


MAPS = lists((0, CELLS), 2)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(MAPS, st.sampled_from(NETWORKS))
def test_documents_are_carved_as_painted_or_refused_where_there_is_no_room(
    groups: tuple[Sort, ...], where: tuple[str, int]
) -> None:
    check(groups, where)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=20_000, suppress_health_check=list(HealthCheck))
@given(lists((0, CELLS), 4), st.sampled_from(NETWORKS))
def test_many_documents(groups: tuple[Sort, ...], where: tuple[str, int]) -> None:
    check(groups, where)
