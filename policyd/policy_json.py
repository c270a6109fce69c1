"""Reads the NetworkPolicy objects that the store holds: JSON, already checked and defaulted by the API's rules. Pure.

Whatever is unknown or malformed all the same is refused whole, with the API's field paths; `parse_closed` then gives the policy
that isolates what it selects and allows nothing, because a rule that we do not understand must never open anything.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from policyd.policy import NetworkPolicy, Peer, PodPeer, Rule
from policyd.policy_json_fields import Reader
from policyd.policy_json_peers import read_ip_block, read_ports, read_selector
from policyd.selector import EVERYTHING, Selector
from romana.errors import InvalidInput

__all__ = ["parse", "parse_closed"]

API_VERSION = "networking.k8s.io/v1"
TYPES = {"Ingress", "Egress"}


def parse(namespace: str, name: str, text: bytes | Mapping[str, Any]) -> NetworkPolicy:
    """The policy of this key; raises InvalidInput that names the policy and lists every fault with its field."""
    reader = Reader()
    policy = _policy(namespace, name, _document(namespace, name, text), reader)
    if reader.faults:
        raise InvalidInput(f"NetworkPolicy {namespace}/{name} is not valid:", reader.faults)
    return policy


def parse_closed(namespace: str, name: str, text: bytes | Mapping[str, Any]) -> NetworkPolicy:
    """The policy of this key, never an error: one that cannot be read allows nothing and says why in `problem`.

    It then isolates the pods and the directions that its legible parts name: every pod, both directions, where those are not."""
    try:
        return parse(namespace, name, text)
    except InvalidInput as err:
        return replace(_closed(namespace, name, text), problem=str(err))


def _document(namespace: str, name: str, text: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(text, Mapping):
        return text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise InvalidInput(f"NetworkPolicy {namespace}/{name} is not JSON: {err}") from err
    if not isinstance(document, dict):
        raise InvalidInput(f"NetworkPolicy {namespace}/{name} is {type(document).__name__}; must be an object")
    return document


def _policy(namespace: str, name: str, document: Mapping[str, Any], reader: Reader) -> NetworkPolicy:
    _head(namespace, name, document, reader)
    spec = reader.mapping(document, "spec", "")
    reader.known(spec, "spec", {"podSelector", "policyTypes", "ingress", "egress"})
    selector = read_selector(reader, spec, "podSelector", "spec") or EVERYTHING
    ingress = _rules(namespace, spec, "ingress", "from", reader)
    egress = _rules(namespace, spec, "egress", "to", reader)
    types = _types(spec, reader)
    return NetworkPolicy(
        namespace, name, selector, ingress if "Ingress" in types else None, egress if "Egress" in types else None
    )


def _head(namespace: str, name: str, document: Mapping[str, Any], reader: Reader) -> None:
    reader.known(document, "", {"apiVersion", "kind", "metadata", "spec", "status"})
    for field, wanted in (("apiVersion", API_VERSION), ("kind", "NetworkPolicy")):
        if document.get(field) != wanted:
            reader.fault(field, f"is {document.get(field)!r}; must be {wanted}")
    metadata = reader.mapping(document, "metadata", "")
    for field, wanted in (("namespace", namespace), ("name", name)):
        if metadata.get(field) != wanted:
            reader.fault(f"metadata.{field}", f"is {metadata.get(field)!r}; its key in the store says {wanted}")


def _types(spec: Mapping[str, Any], reader: Reader) -> set[str]:
    """Directions that it isolates; left out, the API's defaulting: ingress, and egress when there are rules of it."""
    types = reader.items(spec, "policyTypes", "spec")
    for index, value in enumerate(types):
        if not isinstance(value, str) or value not in TYPES:
            reader.fault(f"spec.policyTypes[{index}]", f"is {value!r}; must be Ingress or Egress")
    if types:
        return {value for value in types if isinstance(value, str)}
    return TYPES if spec.get("egress") else {"Ingress"}


def _rules(namespace: str, spec: Mapping[str, Any], field: str, peers: str, reader: Reader) -> tuple[Rule, ...]:
    return tuple(_rule(namespace, rule, path, peers, reader) for rule, path in reader.objects(spec, field, "spec"))


def _rule(namespace: str, rule: Mapping[str, Any], path: str, peers: str, reader: Reader) -> Rule:
    reader.known(rule, path, {peers, "ports"})
    found = [_peer(namespace, peer, where, reader) for peer, where in reader.objects(rule, peers, path)]
    ports = [read_ports(reader, port, where) for port, where in reader.objects(rule, "ports", path)]
    return Rule(
        tuple(peer for peer in found if peer), tuple(port for port in ports if port)
    )  # one missing is a fault: all refused


def _peer(namespace: str, peer: Mapping[str, Any], path: str, reader: Reader) -> Peer | None:
    reader.known(peer, path, {"podSelector", "namespaceSelector", "ipBlock"})
    pods = read_selector(reader, peer, "podSelector", path)
    namespaces = read_selector(reader, peer, "namespaceSelector", path)
    if peer.get("ipBlock") is not None:
        if pods is not None or namespaces is not None:
            reader.fault(path, "has both ipBlock and a selector; must have one or the other")
        return read_ip_block(reader, peer, path)
    if pods is None and namespaces is None:
        reader.fault(path, "is empty; must have podSelector, namespaceSelector or ipBlock")
    return PodPeer(namespace if namespaces is None else namespaces, pods or EVERYTHING)


def _closed(namespace: str, name: str, text: bytes | Mapping[str, Any]) -> NetworkPolicy:
    try:
        document = _document(namespace, name, text)
    except InvalidInput:
        return NetworkPolicy(namespace, name, EVERYTHING, (), ())
    reader = Reader()
    spec = reader.mapping(document, "spec", "")
    selector = _legible_selector(spec, reader)
    reader = Reader()
    given = _types(spec, reader) if spec.get("policyTypes") else TYPES  # no defaulting: the rules it looks at may be misspelt
    types = TYPES if reader.faults else given
    return NetworkPolicy(namespace, name, selector, () if "Ingress" in types else None, () if "Egress" in types else None)


def _legible_selector(spec: Mapping[str, Any], reader: Reader) -> Selector:
    selector = read_selector(reader, spec, "podSelector", "spec")
    return EVERYTHING if selector is None or reader.faults else selector
