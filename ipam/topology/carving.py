"""The prefixes that follow from a document: one for each leaf of each network, and pads. Pure.

Each list of groups splits its prefix (ipam/topology/splitting.py). Hosts in a leaf do not split it. A map of one group gives it
the network whole, or the prefix that the group names.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ipam.topology.document import Group, Host, Labels, NetworkSpec, Topology, TopologyDocument
from ipam.topology.sharing import shares_in
from ipam.topology.splitting import split
from romana.keys import Network

__all__ = ["Prefix", "blocks_total", "carve", "fixed_hosts"]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The prefix of one leaf group, or of a pad that stays empty."""

    network: str
    path: str
    """Indexes down the map, "dc/1/0"; the network's name alone when its map has one group."""
    name: str
    """The group's name; a pad is called by its path."""
    cidr: Network
    pad: bool
    block_mask: int
    assignment: Labels = ()
    """What a node's labels must be, of all levels."""
    routing: str = ""
    """Words by commas, from the nearest level that has any."""
    routing_cidr: Network | None = None
    """The prefix of the group that `routing` is written at: what an aggregate route is about. None without routing."""
    owner: str = "node"
    """Who owns its blocks: "node", or "tenant"."""
    hosts: tuple[Host, ...] = ()
    """When there are any, no other node is placed here."""


def carve(document: TopologyDocument) -> tuple[Prefix, ...]:
    """All prefixes, network by network in the order of the document, ascending within each.

    A network that is in no topology has none.
    """
    topologies = {name: topology for topology in document.topologies for name in topology.networks}
    carved = (_carve_network(network, topologies[network.name]) for network in document.networks if network.name in topologies)
    return tuple(prefix for prefixes in carved for prefix in prefixes)


def _carve_network(network: NetworkSpec, topology: Topology) -> Iterator[Prefix]:
    whole = Prefix(network.name, network.name, network.name, network.cidr, pad=False, block_mask=network.block_mask)
    whole = replace(whole, owner=network.owner)
    if len(topology.groups) == 1 and shares_in(network.cidr, topology.groups)[0].cidr is None:
        return _carve_group(whole, topology.groups[0])
    return _carve_siblings(whole, topology.groups, network.cidr)


def _carve_siblings(parent: Prefix, groups: tuple[Group, ...], whole: Network) -> Iterator[Prefix]:
    for part in split(parent.cidr, shares_in(whole, groups)):
        path = f"{parent.path}/{part.index}"
        slot = replace(parent, path=path, name=path, cidr=part.cidr)
        if part.index < len(groups):
            yield from _carve_group(slot, groups[part.index], whole)
        else:
            yield replace(slot, pad=True, assignment=(), routing="", routing_cidr=None)


def _carve_group(slot: Prefix, group: Group, whole: Network | None = None) -> Iterator[Prefix]:
    """The prefixes of a group; `slot` has its place, and what it inherits. `whole`: the network's prefix, absent: the slot's."""
    assignment = tuple(sorted((dict(slot.assignment) | dict(group.assignment)).items()))
    routing, about = (group.routing, slot.cidr) if group.routing else (slot.routing, slot.routing_cidr)
    mine = replace(slot, name=group.name, assignment=assignment, routing=routing, routing_cidr=about)
    if group.groups:
        yield from _carve_siblings(mine, group.groups, whole or slot.cidr)
    else:
        yield replace(mine, hosts=group.hosts)


def blocks_total(prefix: Prefix) -> int:
    """How many blocks fit; a pad has none to give."""
    return 0 if prefix.pad else 1 << (prefix.block_mask - prefix.cidr.prefixlen)


def fixed_hosts(prefixes: tuple[Prefix, ...]) -> tuple[Host, ...]:
    """The hosts that the document lists itself, each once, in its order."""
    return tuple(dict.fromkeys(host for prefix in prefixes for host in prefix.hosts))
