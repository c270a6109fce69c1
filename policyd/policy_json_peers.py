"""Reads the parts of a NetworkPolicy's rules: selectors, address blocks and ports. Pure."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Network, ip_network
from typing import Any

from policyd.compiled import Network, Protocol
from policyd.policy import ALL_PORTS, IpBlock, NamedPorts, NumberedPorts, Ports
from policyd.policy_json_fields import Reader
from policyd.selector import Operator, Requirement, Selector
from romana.names import is_label_key

__all__ = ["read_ip_block", "read_ports", "read_selector"]

PORT_MAX = 65535
OPERATORS = {operator.value: operator for operator in Operator}
PROTOCOLS = {protocol.name: protocol for protocol in Protocol}
CIDR = re.compile(r"[0-9A-Fa-f:.]+/[0-9]{1,3}", re.ASCII)  # no netmask and no zone, which ip_network would take
MAPPED = IPv6Network("::ffff:0:0/96")
# Kubernetes' IsValidPortName (RFC 6335, section 5.1): 1 to 15 of [-a-z0-9], one letter at least, no hyphen at an end or doubled.
PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")


def read_selector(reader: Reader, parent: Mapping[str, Any], field: str, path: str) -> Selector | None:
    """The selector of a field; None when it is absent, which is not the same as an empty one."""
    if parent.get(field) is None:
        return None
    selector, path = reader.mapping(parent, field, path), f"{path}.{field}"
    reader.known(selector, path, {"matchLabels", "matchExpressions"})
    return Selector(frozenset([*_labels(reader, selector, path), *_expressions(reader, selector, path)]))


def _labels(reader: Reader, selector: Mapping[str, Any], path: str) -> Iterator[Requirement]:
    for key, value in reader.mapping(selector, "matchLabels", path).items():
        if isinstance(key, str) and isinstance(value, str) and is_label_key(key):
            yield Requirement(key, Operator.IN, frozenset([value]))
        else:
            reader.fault(f"{path}.matchLabels", f"has {key!r}: {value!r}; must be a label's key and a string")


def _expressions(reader: Reader, selector: Mapping[str, Any], path: str) -> Iterator[Requirement]:
    for expression, where in reader.objects(selector, "matchExpressions", path):
        reader.known(expression, where, {"key", "operator", "values"})
        key, operator = expression.get("key"), expression.get("operator")
        if not isinstance(key, str) or not is_label_key(key):
            reader.fault(f"{where}.key", f"is {key!r}; must be a label's key")
        elif not isinstance(operator, str) or operator not in OPERATORS:
            reader.fault(f"{where}.operator", f"is {operator!r}; must be one of {', '.join(OPERATORS)}")
        else:
            yield Requirement(key, OPERATORS[operator], _values(reader, expression, OPERATORS[operator], where))


def _values(reader: Reader, expression: Mapping[str, Any], operator: Operator, path: str) -> frozenset[str]:
    values = reader.items(expression, "values", path)
    if any(not isinstance(value, str) for value in values):
        reader.fault(f"{path}.values", f"is {values!r}; must be strings")
    if bool(values) is not (operator in {Operator.IN, Operator.NOT_IN}):
        reader.fault(f"{path}.values", f"is {values!r}; In and NotIn need values, Exists and DoesNotExist take none")
    return frozenset(value for value in values if isinstance(value, str))


def read_ip_block(reader: Reader, peer: Mapping[str, Any], path: str) -> IpBlock | None:
    """The address block of a peer; None when it is malformed."""
    block, path = reader.mapping(peer, "ipBlock", path), f"{path}.ipBlock"
    reader.known(block, path, {"cidr", "except"})
    cidr = _network(reader, block.get("cidr"), f"{path}.cidr")
    listed = reader.items(block, "except", path)
    excepts = [_network(reader, text, f"{path}.except[{index}]") for index, text in enumerate(listed)]
    for index, network in enumerate(excepts):
        if cidr and network and not _inside(network, cidr):
            reader.fault(f"{path}.except[{index}]", f"is {network}; must lie in {cidr} and be smaller")
    return IpBlock(cidr, tuple(network for network in excepts if network)) if cidr else None


def _network(reader: Reader, text: object, path: str) -> Network | None:
    """A CIDR; bits beyond its length are cleared, as the API server does."""
    try:
        network = ip_network(text, strict=False) if isinstance(text, str) and CIDR.fullmatch(text) else None
    except ValueError:
        network = None
    if network is None or (isinstance(network, IPv6Network) and network.subnet_of(MAPPED)):
        reader.fault(path, f"is {text!r}; must be a CIDR such as 10.0.0.0/8 or fd00::/8")
        return None
    return network


def _inside(small: Network, large: Network) -> bool:
    return (
        small.version == large.version and small != large and small.network_address in large and small.broadcast_address in large
    )


def read_ports(reader: Reader, port: Mapping[str, Any], path: str) -> Ports | None:
    """What one entry of `ports` allows; None when it is malformed."""
    reader.known(port, path, {"protocol", "port", "endPort"})
    name = "TCP" if port.get("protocol") is None else port["protocol"]
    if not isinstance(name, str) or name not in PROTOCOLS:
        reader.fault(f"{path}.protocol", f"is {name!r}; must be one of {', '.join(PROTOCOLS)}")
        return None
    protocol, first, last = PROTOCOLS[name], port.get("port"), port.get("endPort")
    if last is not None and (not _is_port(first) or not _is_port(last) or last < first):
        reader.fault(f"{path}.endPort", f"is {last!r}; must be a number of at most {PORT_MAX}, not below a numeric port")
        return None
    if first is None:
        return NumberedPorts(protocol, *ALL_PORTS)
    if isinstance(first, str) and PORT_NAME.fullmatch(first):
        return NamedPorts(protocol, first)
    if isinstance(first, int) and _is_port(first):
        return NumberedPorts(protocol, first, first if last is None else last)
    reader.fault(f"{path}.port", f"is {first!r}; must be 1 to {PORT_MAX} or a port's name")
    return None


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= PORT_MAX
