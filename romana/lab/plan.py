"""What `lab up` and `lab pod add` are asked for, as values. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import yaml

from romana.errors import InvalidInput
from romana.lab.spec import DEFAULT_TOPOLOGY, LabSpec, check_name, make_nodes
from romana.objects.models import Port
from romana.objects.naming import PORT_MAX, PROTOCOLS

__all__ = ["LabPlan", "least_used_node", "parse_port", "plan_lab"]

NODES_DEFAULT = 3

Wanted = tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class LabPlan:
    """A lab, and the topology to apply in it."""

    lab: LabSpec
    topology: bytes


def plan_lab(name: str, count: int | None, nodes: Sequence[str], document: bytes | None, *, programs: str, etcd: str) -> LabPlan:
    """The lab that was asked for. Nodes: those given, else as many as given, else those of the document, else three.

    The topology itself is judged by ipamd; here only its nodes and the addresses that it fixes matter."""
    if count is not None and nodes:
        raise InvalidInput("--nodes and --node say the same thing twice; give one of them")
    topology, listed = _read(document)
    fixed = _fixed_hosts(topology)
    wanted = [_parse_node(text) for text in nodes] or _numbered(count) or listed or [(host, {}) for host in fixed]
    placed = make_nodes(wanted or _numbered(NODES_DEFAULT), fixed)
    return LabPlan(LabSpec(check_name(name), placed, programs, etcd), json.dumps(topology).encode())


def parse_port(text: str) -> Port:
    """`[NAME=]N[/PROTOCOL]`, protocol TCP where none is given."""
    name, _, rest = text.rpartition("=")
    number, _, protocol = rest.partition("/")
    protocol = protocol.upper() or "TCP"
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= PORT_MAX or protocol not in PROTOCOLS:
        raise InvalidInput(
            f"--port {text!r} is not [NAME=]N[/PROTOCOL] with N of 1 to {PORT_MAX} and one of {', '.join(PROTOCOLS)}"
        )
    return Port(int(number), protocol, name)


def least_used_node(lab: LabSpec, nodes_of_pods: Sequence[str]) -> str:
    """The node with the fewest pods, the first of several."""
    return min((node.name for node in lab.nodes), key=nodes_of_pods.count)


def _read(document: bytes | None) -> tuple[Mapping[str, Any], list[Wanted]]:
    """The topology and the nodes listed beside it."""
    if document is None:
        return DEFAULT_TOPOLOGY, []
    try:
        value = yaml.safe_load(document)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as err:
        raise InvalidInput(f"--topology is neither JSON nor YAML: {err}") from err
    if not isinstance(value, dict):
        raise InvalidInput(f"--topology holds {value!r}; must be a topology document")
    if "topology" not in value:
        return value, []
    nodes = [node for node in value.get("nodes") or [] if isinstance(node, dict) and "name" in node]
    return value["topology"], [(str(node["name"]), dict(node.get("labels") or {})) for node in nodes]


def _fixed_hosts(value: Any) -> dict[str, IPv4Address]:
    """Addresses of the hosts that a document names, at any depth; what is malformed is left to ipamd's words."""
    found: dict[str, IPv4Address] = {}
    if isinstance(value, dict):
        if "ip" in value and "name" in value:
            try:
                found[str(value["name"])] = IPv4Address(value["ip"])
            except ValueError:
                return {}
        for child in value.values():
            found.update(_fixed_hosts(child))
    elif isinstance(value, list):
        for child in value:
            found.update(_fixed_hosts(child))
    return found


def _parse_node(text: str) -> Wanted:
    name, *pairs = text.split(",")
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise InvalidInput(f"--node {text!r}: {wrong[0]!r} is not LABEL=VALUE")
    return name, dict(pair.split("=", 1) for pair in pairs)


def _numbered(count: int | None) -> list[Wanted]:
    if count is not None and count < 1:
        raise InvalidInput(f"--nodes {count} is too few; a lab has at least one node")
    return [(f"node-{number}", {}) for number in range(1, (count or 0) + 1)]
