"""The topology document as a value, and its normal form. Pure.

`ipam.topology.reading.read_document` makes it from bytes; whatever made one, these values are right: every name is safe in a
key, no two networks overlap, every block fits its leaf.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from romana.keys import Address, Network

__all__ = ["Group", "Host", "Labels", "NetworkSpec", "Topology", "TopologyDocument", "leaves", "normalised"]

Labels = tuple[tuple[str, str], ...]
"""Label and value, in the order of the labels; `dict(labels)` is the mapping."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A range that pods get addresses from."""

    name: str
    cidr: Network
    block_mask: int
    """Prefix length of its blocks."""
    tenants: tuple[str, ...] = ()
    """Tenants that may use it, in the order of the document; empty: any."""
    owner: str = "node"
    """Who owns its blocks: "node", or "tenant": a tenant's segment on a node, as in Romana."""
    reserved: tuple[Network, ...] = ()
    """Addresses in it that are not given out."""
    cooldown_s: int | None = None
    """How long a released address rests, in seconds; None: as ipamd is configured."""
    dual: str = ""
    """On an IPv4 network, the IPv6 network whose addresses go with its own; empty: none."""
    fallback: bool = True
    """Whether the tenants that it lists may use the networks that list none, when it is full."""


@dataclass(frozen=True, slots=True)
class Host:
    """A node that the document itself puts into a leaf."""

    name: str
    ip: Address


@dataclass(frozen=True, slots=True)
class Group:
    """A group of nodes that share a prefix: of groups, or a leaf (with the nodes it lists, or open to any that fits)."""

    name: str
    assignment: Labels = ()
    routing: str = ""
    groups: tuple["Group", ...] = ()
    hosts: tuple[Host, ...] = ()
    weight: int = 1
    """How many of its siblings' slots it takes, rounded up to a power of two."""
    cidrs: tuple[Network, ...] = ()
    """Its prefixes, if the document says so: one in a network at most."""


@dataclass(frozen=True, slots=True)
class Topology:
    """A map and the networks that are carved by it."""

    networks: tuple[str, ...]
    groups: tuple[Group, ...]
    """The document's `map`."""


@dataclass(frozen=True, slots=True)
class TopologyDocument:
    """The admin's document."""

    networks: tuple[NetworkSpec, ...]
    topologies: tuple[Topology, ...]


def leaves(groups: tuple[Group, ...]) -> Iterator[Group]:
    """The groups that hold nodes, in the order of the document."""
    for group in groups:
        if group.groups:
            yield from leaves(group.groups)
        else:
            yield group


def normalised(document: TopologyDocument) -> bytes:
    """The document as canonical JSON: the same value gives the same bytes, and reading them gives the same value.

    `block_mask` is always written, so that a later default never moves a boundary; what is empty is left out, except `groups`.
    """
    tree = {
        "networks": [_network_tree(network) for network in document.networks],
        "topologies": [
            {"networks": list(topology.networks), "map": [_group_tree(group) for group in topology.groups]}
            for topology in document.topologies
        ],
    }
    return json.dumps(tree, separators=(",", ":")).encode()


def _network_tree(network: NetworkSpec) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": network.name, "cidr": str(network.cidr), "block_mask": network.block_mask}
    default = NetworkSpec(network.name, network.cidr, network.block_mask)
    if network.tenants:
        tree["tenants"] = list(network.tenants)
    if network.reserved:
        tree["reserved"] = [str(cidr) for cidr in network.reserved]
    others = ("owner", "cooldown_s", "dual", "fallback")
    return tree | {key: getattr(network, key) for key in others if getattr(network, key) != getattr(default, key)}


def _group_tree(group: Group) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": group.name}
    if group.assignment:
        tree["assignment"] = dict(group.assignment)
    if group.routing:
        tree["routing"] = group.routing
    if group.weight != 1:
        tree["weight"] = group.weight
    if group.cidrs:
        tree["cidr"] = [str(cidr) for cidr in group.cidrs] if len(group.cidrs) > 1 else str(group.cidrs[0])
    tree["groups"] = [_group_tree(child) for child in group.groups]
    tree["groups"] += [{"name": host.name, "ip": str(host.ip)} for host in group.hosts]
    return tree
