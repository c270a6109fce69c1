"""Where a node stands in each network. Pure.

For every network by itself: among the leaves that take the node, the one with the fewest nodes; the first wins a tie. Pads take
nobody. A leaf that lists hosts takes these and no other, by name and whatever their labels; a host that is listed in a network
goes to that leaf and to no other of the network.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipam.topology.carving import Prefix
from romana.errors import Fault, Refused
from romana.keys import Network

__all__ = ["Candidates", "Counts", "Placement", "Placements", "fewest", "misfits", "place", "place_or_refuse", "placement_in"]

LINES_MAX = 32  # of a refusal; the rest is counted


@dataclass(frozen=True, slots=True)
class Placement:
    """The group that a node takes its addresses of one network from."""

    network: str
    path: str
    name: str
    cidr: Network
    kept: bool = False
    """The node's labels came to ask for another group: it stays until it was drained (`ipam.topology.pending`)."""


Placements = tuple[Placement, ...]

Counts = Mapping[tuple[str, str], int]
"""How many nodes stand in (network, path); absent is none."""


class Candidates:
    """Answers which leaves take a node; built once for many nodes of one topology."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        leaves = [prefix for prefix in prefixes if not prefix.pad]
        self._listing: dict[str, dict[str, list[Prefix]]] = {}
        for leaf in leaves:
            for host in leaf.hosts:
                self._listing.setdefault(host.name, {}).setdefault(leaf.network, []).append(leaf)
        self._open = _by_rarest_label([leaf for leaf in leaves if not leaf.hosts])
        self._labels = sorted({label for leaf in leaves for label, _ in leaf.assignment})
        self._order = list(dict.fromkeys(leaf.network for leaf in leaves))
        self._known: dict[tuple[str | None, ...], dict[str, list[Prefix]]] = {}

    def of(self, node: str, labels: Mapping[str, str]) -> dict[str, list[Prefix]]:
        """By network, in the order of the networks, the leaves that take the node; networks without one are left out."""
        found = self._by_labels(labels) | self._listing.get(node, {})
        return {network: found[network] for network in self._order if network in found}

    def _by_labels(self, labels: Mapping[str, str]) -> dict[str, list[Prefix]]:
        """Open leaves by the labels that any of them asks for: few differ in these, however many nodes there are."""
        key = tuple(labels.get(label) for label in self._labels)
        if key not in self._known:
            asked = [pair for pair in zip(self._labels, key, strict=True) if pair in self._open]
            numbered = [entry for pair in [None, *asked] for entry in self._open.get(pair, ())]
            found: dict[str, list[Prefix]] = {}
            for _, leaf in sorted(numbered, key=lambda entry: entry[0]):
                if not _missing(leaf, labels):
                    found.setdefault(leaf.network, []).append(leaf)
            self._known[key] = found
        return self._known[key]


_Pair = tuple[str, str | None]


def _by_rarest_label(leaves: Sequence[Prefix]) -> dict[_Pair | None, list[tuple[int, Prefix]]]:
    """Leaves with their numbers, by the label and value in their assignment that the fewest leaves ask for; None for no label."""
    asked = Counter(pair for leaf in leaves for pair in leaf.assignment)
    index: dict[_Pair | None, list[tuple[int, Prefix]]] = {}
    for number, leaf in enumerate(leaves):
        rarest = min(leaf.assignment, key=lambda pair: asked[pair], default=None)
        index.setdefault(rarest, []).append((number, leaf))
    return index


def place(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str], counts: Counts) -> Placements:
    """A placement for each network that has a leaf for the node, in the order of the networks; empty when none has."""
    chosen = (fewest(leaves, counts) for leaves in Candidates(prefixes).of(node, labels).values())
    return tuple(placement_in(leaf) for leaf in chosen)


def place_or_refuse(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str], counts: Counts) -> Placements:
    """As `place`; raises Refused, with what each group misses in the node, when no network takes it."""
    placements = place(prefixes, node, labels, counts)
    if not placements:
        words = f"no group of the topology takes node {node} ({_shown(labels)})"
        raise Refused(words, misfits(prefixes, node, labels), reason="NODE_IN_NO_GROUP")
    return placements


def placement_in(leaf: Prefix) -> Placement:
    """The placement of a node that stands in this leaf."""
    return Placement(leaf.network, leaf.path, leaf.name, leaf.cidr)


def fewest(leaves: Sequence[Prefix], counts: Counts) -> Prefix:
    """The leaf with the fewest nodes, the first of several."""
    return min(leaves, key=lambda leaf: counts.get((leaf.network, leaf.path), 0))


def _lists(prefix: Prefix, node: str) -> bool:
    return any(host.name == node for host in prefix.hosts)


def _missing(prefix: Prefix, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, value) for label, value in prefix.assignment if labels.get(label) != value]


def misfits(prefixes: Sequence[Prefix], node: str, labels: Mapping[str, str]) -> tuple[Fault, ...]:
    """For each leaf that does not take the node, why; the path is the group's."""
    leaves = [prefix for prefix in prefixes if not prefix.pad and not _lists(prefix, node)]
    if not leaves:
        return (Fault("", "the topology has no groups; apply one first"),)
    lines = [Fault(f"{leaf.path} ({leaf.name})", _why_not(leaf, labels)) for leaf in leaves[:LINES_MAX]]
    if len(leaves) > LINES_MAX:
        lines.append(Fault("", f"and {len(leaves) - LINES_MAX} more groups that do not take it"))
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
