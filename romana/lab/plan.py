"""What `lab up` and `lab pod add` are asked for, as values. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ipam.topology.syntax import label_key, label_value
from romana.errors import UsageError
from romana.lab.document import LabDocument, Wanted, read_lab_document
from romana.lab.members import check_members
from romana.lab.spec import DEFAULT_TOPOLOGY, LabSpec, check_name, make_nodes
from romana.objects.models import Port
from romana.objects.naming import PORT_MAX, PROTOCOLS

__all__ = ["LabPlan", "least_used_node", "parse_port", "plan_lab"]

NODES_DEFAULT = 3


@dataclass(frozen=True, slots=True)
class LabPlan:
    """A lab, and the topology to apply in it."""

    lab: LabSpec
    topology: bytes


def plan_lab(
    name: str, count: int | None, nodes: Sequence[str], document: bytes | None, *, programs: str, etcd: str, etcd_members: int = 1
) -> LabPlan:
    """The lab that was asked for. Nodes: those given, else as many as given, else those of the document, else three.

    Raises UsageError for what the arguments say, InvalidInput for what the document says."""
    check_name(name)
    check_members(etcd_members)
    if count is not None and nodes:
        raise UsageError("--nodes and --node say the same thing twice; give one of them")
    given = [_parse_node(text) for text in nodes] or _numbered(count)
    read = _default() if document is None else read_lab_document(document)
    wanted = given or read.nodes or [(host, {}) for host in read.fixed] or _numbered(NODES_DEFAULT)
    placed = make_nodes(wanted, read.fixed, by_argument=bool(given))
    return LabPlan(LabSpec(name, placed, programs, etcd, etcd_members, read.ipv6), read.topology)


def parse_labels(pairs: Sequence[str], option: str = "--label") -> dict[str, str]:
    """`k=v` pairs as labels; raises UsageError for what is no such pair, and for a label that is given twice."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{option} {pair!r} is not LABEL=VALUE")
        if key in labels:
            raise UsageError(f"{option}: {key!r} is given twice, as {labels[key]!r} and as {value!r}")
        try:
            labels[label_key(key)] = label_value(value)
        except ValueError as err:
            raise UsageError(f"{option} {pair!r}: {err}") from err
    return labels


def parse_port(text: str) -> Port:
    """`[NAME=]N[/PROTOCOL]`, protocol TCP where none is given."""
    name, _, rest = text.rpartition("=")
    number, _, protocol = rest.partition("/")
    protocol = protocol.upper() or "TCP"
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= PORT_MAX or protocol not in PROTOCOLS:
        raise UsageError(
            f"--port {text!r} is not [NAME=]N[/PROTOCOL] with N of 1 to {PORT_MAX} and one of {', '.join(PROTOCOLS)}"
        )
    return Port(int(number), protocol, name)


def least_used_node(lab: LabSpec, nodes_of_pods: Sequence[str]) -> str:
    """The node with the fewest pods, the first of several."""
    return min((node.name for node in lab.nodes), key=nodes_of_pods.count)


def _default() -> LabDocument:
    return LabDocument(json.dumps(DEFAULT_TOPOLOGY).encode(), [], {}, ipv6=False)


def _parse_node(text: str) -> Wanted:
    name, *pairs = text.split(",")
    return name, parse_labels(pairs, f"--node {text!r}:")


def _numbered(count: int | None) -> list[Wanted]:
    if count is not None and count < 1:
        raise UsageError(f"--nodes {count} is too few; a lab has at least one node")
    return [(f"node-{number}", {}) for number in range(1, (count or 0) + 1)]
