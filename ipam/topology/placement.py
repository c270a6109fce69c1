"""Where a node stands in each network. Pure.

For every network by itself: among the leaves that take the node, the one with the fewest nodes; the first wins a tie. Pads take
nobody. A leaf that lists hosts takes these and no other, by name and whatever their labels; a host that is listed in a network
goes to that leaf and to no other of the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipam.topology.carving import Prefix
from romana.errors import Fault, Refused
from romana.keys import Network

__all__ = ["Placement", "Placements", "candidates", "fewest", "misfits", "place", "place_or_refuse"]

LINES_MAX = 32  # of a refusal; the rest is counted


@dataclass(frozen=True, slots=True)
class Placement:
    """The group that a node takes its addresses of one network from."""

    network: str
    path: str
    name: str
    cidr: Network


Placements = tuple[Placement, ...]


def place(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str], counts: Mapping[tuple[str, str], int]) -> Placements:
    """A placement for each network that has a leaf for the node, in the order of the networks; empty when none has.

    `counts` tells how many nodes stand in (network, path); absent is none.
    """
    chosen = (fewest(leaves, counts) for leaves in candidates(prefixes, node, labels).values())
    return tuple(Placement(leaf.network, leaf.path, leaf.name, leaf.cidr) for leaf in chosen)


def place_or_refuse(
    prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str], counts: Mapping[tuple[str, str], int]
) -> Placements:
    """As `place`; raises Refused, with what each group misses in the node, when no network takes it."""
    placements = place(prefixes, node, labels, counts)
    if not placements:
        raise Refused(f"no group of the topology takes node {node} ({_shown(labels)})", misfits(prefixes, node, labels))
    return placements


def candidates(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str]) -> dict[str, list[Prefix]]:
    """By network, the leaves that take the node; networks without one are left out."""
    listed = {prefix.network for prefix in prefixes if _lists(prefix, node)}
    found: dict[str, list[Prefix]] = {}
    for prefix in prefixes:
        if _lists(prefix, node) or (prefix.network not in listed and _open_to(prefix, labels)):
            found.setdefault(prefix.network, []).append(prefix)
    return found


def fewest(leaves: Sequence[Prefix], counts: Mapping[tuple[str, str], int]) -> Prefix:
    """The leaf with the fewest nodes, the first of several."""
    return min(leaves, key=lambda leaf: counts.get((leaf.network, leaf.path), 0))


def _lists(prefix: Prefix, node: str) -> bool:
    return any(host.name == node for host in prefix.hosts)


def _open_to(prefix: Prefix, labels: Mapping[str, str]) -> bool:
    return not prefix.pad and not prefix.hosts and not _missing(prefix, labels)


def _missing(prefix: Prefix, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, value) for label, value in prefix.assignment if labels.get(label) != value]


def misfits(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str]) -> tuple[Fault, ...]:
    """For each leaf that does not take the node, why; the path is the group's."""
    leaves = [prefix for prefix in prefixes if not prefix.pad and not _lists(prefix, node)]
    lines = [Fault(f"{leaf.path} ({leaf.name})", _why_not(leaf, labels)) for leaf in leaves]
    if not lines:
        return (Fault("", "the topology has no groups; apply one first"),)
    if len(lines) > LINES_MAX:
        lines = [*lines[:LINES_MAX], Fault("", f"and {len(lines) - LINES_MAX} more groups that do not take it")]
    return tuple(lines)


def _why_not(leaf: Prefix, labels: Mapping[str, str]) -> str:
    if leaf.hosts:
        return f"takes only the hosts that it lists: {_listed(leaf)}"
    wants = ", ".join(f"{label}={value} ({_has(labels, label)})" for label, value in _missing(leaf, labels))
    return f"needs {wants}" if wants else "takes any node, but another group lists this one"


def _listed(leaf: Prefix) -> str:
    names = [host.name for host in leaf.hosts]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _has(labels: Mapping[str, str], label: str) -> str:
    return f"the node has {label}={labels[label]}" if label in labels else "the node has no such label"


def _shown(labels: Mapping[str, str]) -> str:
    return "labels " + ", ".join(f"{label}={value}" for label, value in sorted(labels.items())) if labels else "no labels"
