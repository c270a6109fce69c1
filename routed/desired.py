"""Which routes this node should have, from all nodes and blocks. Pure.

One route per block for now: blocks side by side with one next hop are not merged. That comes with the routing issue, where the
topology says which prefixes may be announced as one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from routed.model import Address, Block, Network, Node, Problem, Route

__all__ = ["Desired", "desired_routes"]

NO_NODES = Problem("store-empty", "the store has no node: it was wiped, or it is not this cluster's; all routes stay as they are")


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole desired state, and what kept a block from having its route."""

    routes: frozenset[Route]
    problems: tuple[Problem, ...]
    known: bool = True
    """False when what we heard cannot be the cluster: the routes must stay as they are."""


def desired_routes(this_node: str, nodes: Iterable[Node], blocks: Iterable[Block]) -> Desired:
    """A route to each block of another node, an unreachable one for each of our own (the pods' host routes are more specific).

    The uid owns a block, not the name: the blocks of a node that is gone have no route, whoever took its name. That is no
    problem: they return to their group once their addresses have cooled, and `romana status` says when. In any order of nodes and
    blocks the result is the same.

    No nodes at all, not even this one, is no cluster whose routes are to be removed: the store was wiped, or is another one.
    """
    by_uid = {node.uid: node for node in nodes}
    if not by_uid:
        return Desired(frozenset(), (NO_NODES,), known=False)
    own = next((node for node in by_uid.values() if node.name == this_node), None)
    problems = [] if own else [Problem("node-unknown", f"this node is not known: the store has no node {this_node!r}")]
    routes: dict[Network, Route] = {}
    for block in sorted(blocks, key=_order):
        found = _route(block, own, by_uid)
        if isinstance(found, Problem):
            problems.append(found)
        elif found and routes.setdefault(found.destination, found) != found:
            problems.append(
                Problem("block-twice", f"block {block.cidr} belongs to two nodes; the route to {block.node!r} is left out")
            )
    return Desired(frozenset(routes.values()), tuple(problems))


def _order(block: Block) -> tuple[int, Network, str]:
    return block.cidr.version, block.cidr, block.node_uid


def _route(block: Block, own: Node | None, by_uid: Mapping[str, Node]) -> Route | Problem | None:
    owner = by_uid.get(block.node_uid)
    if owner is None:
        return None
    if owner is own:
        return Route(block.cidr, None)
    next_hop = _address(owner, block.cidr.version)
    if next_hop is None:
        return Problem(
            "node-without-address", f"block {block.cidr}: its node {owner.name!r} has no IPv{block.cidr.version} address"
        )
    return Route(block.cidr, next_hop)


def _address(node: Node, version: int) -> Address | None:
    return next((address for address in node.addresses if address.version == version), None)
