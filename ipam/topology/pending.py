"""Nodes whose labels came to ask for another group than they stand in. Pure.

    labels change ──→ placement.kept: stays, with its blocks, and goes on giving out addresses
                        ├── labels, or the topology, change so that they fit again ──→ as if nothing had been
                        └── drained, no block left in the old group ──→ placed anew, as a new node would be

Whether a kept node would move, and where to, follows from its labels and the topology; `kept` alone is stored. Without it such a
node could not be told from one that a change of the topology is about to place elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ipam.topology.carving import Prefix
from ipam.topology.placement import Candidates, Counts, Placement, Placements, fewest, placement_in

__all__ = ["Pending", "moved", "pending_moves", "would_move"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A move that waits for the node to be drained."""

    node: str
    before: Placement
    after: Placement | None
    """Where it would go now; None: no group of the network takes it any more."""

    def __str__(self) -> str:
        where = f"group {self.after.path} ({self.after.name})" if self.after else "no group"
        return f"network {self.before.network}: from group {self.before.path} ({self.before.name}) to {where}"


def would_move(candidates: Candidates, node: str, labels: Mapping[str, str], place: Placement) -> bool:
    """Whether the node stays there only until it was drained."""
    return place.kept and not any(_is(leaf, place) for leaf in candidates.of(node, labels).get(place.network, ()))


def pending_moves(
    candidates: Candidates, node: str, labels: Mapping[str, str], placements: Placements, counts: Counts
) -> Iterator[Pending]:
    """The moves that wait, in the order of the placements."""
    for place in placements:
        if would_move(candidates, node, labels, place):
            leaves = candidates.of(node, labels).get(place.network)
            yield Pending(node, place, placement_in(fewest(leaves, counts)) if leaves else None)


def moved(placements: Placements, moves: Iterable[Pending]) -> Placements:
    """The placements with these moves done."""
    after = {move.before: move.after for move in moves}
    found = (after.get(place, place) for place in placements)
    return tuple(place for place in found if place is not None)


def _is(leaf: Prefix, place: Placement) -> bool:
    return (leaf.path, leaf.name, leaf.cidr) == (place.path, place.name, place.cidr)
