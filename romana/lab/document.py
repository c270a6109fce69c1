"""The document of `lab up --topology`: a topology, or `{"topology": ..., "nodes": [{"name": ..., "labels": {...}}]}`. Pure.

It is judged before anything is built, by ipamd's own reader, so that a wrong one leaves nothing behind.
"""

import json
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipam.topology.document import TopologyDocument, leaves
from ipam.topology.fields import Fields
from ipam.topology.reading import read_document
from ipam.topology.syntax import host_name
from ipam.topology.text import Pairs, Tree, parse_text
from romana.errors import Fault, InvalidInput

__all__ = ["LabDocument", "Wanted", "read_lab_document"]

Wanted = tuple[str, dict[str, str]]
"""A node to make: its name and labels."""


@dataclass(frozen=True, slots=True)
class LabDocument:
    """What a document says of a lab."""

    topology: bytes
    nodes: list[Wanted]
    """Those listed beside the topology."""
    fixed: dict[str, IPv4Address]
    """Hosts that the topology itself names, and their addresses."""
    ipv6: bool
    """Whether a network of it is of IPv6."""


def read_lab_document(raw: bytes) -> LabDocument:
    """The document when ipamd would take it; raises InvalidInput with every fault of the nodes, or of the topology."""
    tree = parse_text(raw)
    values = dict(tree.pairs) if isinstance(tree, Pairs) else {}
    if "topology" not in values:
        return _lab_document(raw, [])
    faults: list[Fault] = []
    nodes = [_node(item, path, faults) for path, item in _listed(values.get("nodes", []), faults)]
    if faults:
        raise InvalidInput('the nodes beside the topology ("nodes") are wrong:', faults)
    topology = _text(values["topology"]).encode()
    return _lab_document(topology, nodes)


def _lab_document(raw: bytes, nodes: list[Wanted]) -> LabDocument:
    document = read_document(raw)
    return LabDocument(raw, nodes, _fixed(document), any(network.cidr.version == 6 for network in document.networks))


def _listed(nodes: Tree, faults: list[Fault]) -> list[tuple[str, Tree]]:
    return Fields(Pairs((("nodes", nodes),)), "", "the document", ("nodes",), faults).items("nodes", "nodes", required=False)


def _node(tree: Tree, path: str, faults: list[Fault]) -> Wanted:
    fields = Fields(tree, path, "a node", ("name", "labels"), faults)
    return fields.text("name", host_name) or "", dict(fields.labels("labels"))


def _fixed(document: TopologyDocument) -> dict[str, IPv4Address]:
    hosts = (host for topology in document.topologies for leaf in leaves(topology.groups) for host in leaf.hosts)
    return {host.name: host.ip for host in hosts if isinstance(host.ip, IPv4Address)}


def _text(tree: Tree) -> str:
    """The tree as JSON, repeated keys kept: they are the reader's to find."""
    if isinstance(tree, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {_text(value)}" for key, value in tree.pairs) + "}"
    return "[" + ", ".join(map(_text, tree)) + "]" if isinstance(tree, list) else json.dumps(tree)
