"""What a new document means for nodes and blocks that are there: where every node will stand, or what stands in the way. Pure.

A change is allowed when every block with a live address (held, or still cooling) lies, whole and at its size, in the leaf in
which its node will stand. A block without one that stands in the way is given back. A node with blocks stands where its blocks
are; a node without stays in its group where that still exists for it; networks that are new to a node get a placement as a new
node would. A node that was kept in a group against its labels (`ipam.topology.pending`) stays in the one most like it. Where no
live address is in the way, nothing is refused but to leave a node that had a group without any.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ipam.topology.carving import Prefix
from ipam.topology.placement import Candidates, Placement, Placements, fewest, misfits, placement_in
from romana.keys import Network

__all__ = ["Change", "OwnedBlock", "PlacedNode", "plan_change"]

LINES_MAX = 32  # of refusals; the rest is counted


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node as it is now."""

    name: str
    uid: str
    labels: Mapping[str, str]
    placements: Placements


@dataclass(frozen=True, slots=True)
class OwnedBlock:
    """A block in somebody's hands; its owner may be a node that is no more."""

    network: str
    cidr: Network
    node: str
    node_uid: str
    held: int = 0
    """How many of its addresses are held."""
    cooling: int = 0
    """How many were released and may not be given out yet."""
    owner: str = "node"
    """Whose it is there: the node's alone, or a "tenant"'s."""

    @property
    def live(self) -> bool:
        """Whether it has to stay with its node."""
        return self.held > 0 or self.cooling > 0

    def __str__(self) -> str:
        return f"block {self.cidr} of node {self.node} in network {self.network}"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to the nodes: all their placements by name, or why it cannot be."""

    placements: Mapping[str, Placements]
    refusals: tuple[str, ...]
    """Empty when the change is allowed."""
    given_back: tuple[OwnedBlock, ...] = ()
    """Blocks without a live address that stand in the way; none when the change is refused."""
    in_the_way: tuple[tuple[OwnedBlock, str], ...] = ()
    """Blocks with live addresses that stand in the way, each with the reason."""


def plan_change(new: Sequence[Prefix], nodes: Sequence[PlacedNode], blocks: Iterable[OwnedBlock]) -> Change:
    """Every node's placements under the prefixes of the new document. O(nodes * leaves that take it + blocks * log leaves)."""
    leaves = _Leaves(new)
    verdict = _Verdict([], [], [])
    bound: dict[str, dict[str, dict[str, _Bound]]] = {}
    for block in blocks:
        leaf, why = leaves.of(block)
        if leaf is None:
            verdict.against(block, why)
        else:
            by_path = bound.setdefault(block.node_uid, {}).setdefault(block.network, {})
            by_path.setdefault(leaf.path, _Bound(leaf, [])).blocks.append(block)
    placements = _placements(new, nodes, bound, verdict)
    refusals = verdict.refusals
    homeless = [node for node in nodes if node.placements and not placements[node.name]]
    refusals += [_homeless(new, node) for node in homeless[:LINES_MAX]]
    more = len(refusals[LINES_MAX:]) + len(homeless[LINES_MAX:])
    lines = (*refusals[:LINES_MAX], *([f"and {more} more"] if more else []))
    return Change(placements, lines, () if lines else tuple(verdict.given_back), tuple(verdict.in_the_way))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is found of the blocks, as it is found."""

    refusals: list[str]
    given_back: list[OwnedBlock]
    in_the_way: list[tuple[OwnedBlock, str]]

    def against(self, block: OwnedBlock, why: str) -> None:
        """The block cannot be where it is."""
        if block.live:
            self.in_the_way.append((block, why))
            self.refusals.append(f"{block}: {why}; addresses of it: {block.held} held, {block.cooling} cooling")
        else:
            self.given_back.append(block)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A leaf that a node is bound to, and the blocks that bind it."""

    leaf: Prefix
    blocks: list[OwnedBlock]


_Bounds = Mapping[str, Mapping[str, _Bound]]
"""By network and path, the leaves that one node is bound to."""


class _Leaves:
    """The leaf that a block lies in, by bisection."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self._prefixes: dict[str, list[Prefix]] = {}
        for prefix in prefixes:
            self._prefixes.setdefault(prefix.network, []).append(prefix)
        self._starts = {
            network: [int(prefix.cidr.network_address) for prefix in inside] for network, inside in self._prefixes.items()
        }

    def of(self, block: OwnedBlock) -> tuple[Prefix | None, str]:
        """The leaf, and nothing; or none, and why the block cannot be."""
        if block.network not in self._prefixes:
            return None, "the network is gone from the document"
        index = bisect_right(self._starts[block.network], int(block.cidr.network_address)) - 1
        prefix = self._prefixes[block.network][max(index, 0)]
        if not _inside(block.cidr, prefix.cidr):
            return None, "lies in no group of the network any more"
        if prefix.pad:
            return None, f"would lie in {prefix.path} ({prefix.cidr}), which stays empty for growth"
        if prefix.block_mask != block.cidr.prefixlen:
            return None, f"the document makes blocks of /{prefix.block_mask}; the network still has others"
        if prefix.owner != block.owner:
            return None, f"the document makes blocks of owner {prefix.owner}; this one is of owner {block.owner}"
        return prefix, ""


def _inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _placements(
    new: Sequence[Prefix], nodes: Sequence[PlacedNode], bound: Mapping[str, _Bounds], verdict: _Verdict
) -> dict[str, Placements]:
    """Bound and kept leaves first, so that the nodes that are placed anew fill up what these leave."""
    candidates = Candidates(new)
    fitting = {node.name: _fitting(candidates, new, node) for node in nodes}
    chosen: dict[tuple[str, str], Prefix] = {}
    for node in nodes:
        bound_to = _bound_leaves(node, fitting[node.name], bound.get(node.uid, {}), verdict)
        for network, leaves in fitting[node.name].items():
            leaf = bound_to.get(network) or _kept_leaf(leaves, node.placements)
            if leaf is not None:
                chosen[node.name, network] = leaf
    counts = Counter((leaf.network, leaf.path) for leaf in chosen.values())
    for node in nodes:
        for network, leaves in fitting[node.name].items():
            if (node.name, network) not in chosen:
                leaf = chosen[node.name, network] = fewest(leaves, counts)
                counts[leaf.network, leaf.path] += 1
    return {node.name: _chosen(candidates, node, [chosen[node.name, each] for each in fitting[node.name]]) for node in nodes}


def _fitting(candidates: Candidates, new: Sequence[Prefix], node: PlacedNode) -> dict[str, list[Prefix]]:
    """By network, the leaves that take the node; where it was kept against its labels, the one most like its own."""
    found = candidates.of(node.name, node.labels)
    if not any(placement.kept for placement in node.placements):
        return found
    leaves: dict[str, list[Prefix]] = {}
    for prefix in new:
        leaves.setdefault(prefix.network, []).extend([] if prefix.pad else [prefix])
    for old in node.placements:
        leaf = _kept_leaf(leaves[old.network], (old,)) if old.kept and leaves.get(old.network) else None
        if leaf is not None:
            found = {**found, old.network: [leaf]}
    return {network: found[network] for network in leaves if network in found}


def _chosen(candidates: Candidates, node: PlacedNode, leaves: Sequence[Prefix]) -> Placements:
    taking = candidates.of(node.name, node.labels)
    return tuple(replace(placement_in(leaf), kept=leaf not in taking.get(leaf.network, ())) for leaf in leaves)


def _bound_leaves(
    node: PlacedNode, fitting: Mapping[str, Sequence[Prefix]], bounds: _Bounds, verdict: _Verdict
) -> dict[str, Prefix]:
    """By network, the leaf that the node's blocks tie it to; those in leaves that do not take it are found against."""
    tied: dict[str, Prefix] = {}
    for network, by_path in bounds.items():
        fits = [bound for bound in by_path.values() if bound.leaf in fitting.get(network, ())]
        for bound in by_path.values():
            if bound not in fits:
                (why,) = misfits([bound.leaf], node.name, node.labels)
                for block in bound.blocks:
                    verdict.against(block, f"would lie in {why}")
        if fits:
            tied[network] = _one_leaf(node, network, fits, verdict)
    return tied


def _one_leaf(node: PlacedNode, network: str, fits: Sequence[_Bound], verdict: _Verdict) -> Prefix:
    """Of several leaves that the node could stand in, the one with live addresses, else the one most like its old."""
    live = [(bound.leaf, block) for bound in fits for block in bound.blocks if block.live]
    leaf = live[0][0] if live else _kept_leaf([bound.leaf for bound in fits], node.placements) or fits[0].leaf
    if others := [(other, block) for other, block in live if other != leaf]:
        parts = " and ".join(f"{block.cidr} in {other.path}" for other, block in (live[0], others[0]))
        verdict.refusals.append(f"node {node.name} would have blocks in several groups of network {network}: {parts}")
    verdict.given_back.extend(block for bound in fits if bound.leaf != leaf for block in bound.blocks if not block.live)
    return leaf


def _kept_leaf(fitting: Sequence[Prefix], placements: Placements) -> Prefix | None:
    """The leaf that is most like the one the node stands in: by name, then by prefix."""
    old = next((placement for placement in placements if placement.network == fitting[0].network), None)
    if old is None:
        return None
    best = max(fitting, key=lambda leaf: _likeness(leaf, old))
    return best if any(_likeness(best, old)[:2]) else None


def _likeness(leaf: Prefix, old: Placement) -> tuple[bool, bool, bool]:
    return leaf.name == old.name, leaf.cidr == old.cidr, leaf.path == old.path


def _homeless(new: Sequence[Prefix], node: PlacedNode) -> str:
    reasons = "; ".join(map(str, misfits(new, node.name, node.labels)[:4]))
    return f"node {node.name} would stand in no group: {reasons}"
