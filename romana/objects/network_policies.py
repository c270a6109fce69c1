"""NetworkPolicy as the API defaults and validates it. Pure.

Source: k8s.io/kubernetes, pkg/apis/networking/v1/defaults.go and pkg/apis/networking/validation/validation.go; what a server 1.36
answered is in tests/unit/test_objects_recordings.py.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from romana.errors import Fault
from romana.objects.cidrs import block_faults, block_warnings
from romana.objects.metadata import metadata_faults, selector_faults
from romana.objects.naming import PROTOCOLS, dns_subdomain, port_name, port_number
from romana.objects.v1_types import NetworkPolicyV1, PeerV1, PolicyPortV1, PolicySpecV1, RuleV1
from romana.objects.words import each_invalid, forbidden, invalid, quoted, required, unsupported

__all__ = ["defaulted", "policy_faults", "policy_warnings", "upper_case_protocols"]

POLICY_TYPES = ("Ingress", "Egress")

Direction = tuple[Literal["ingress", "egress"], Literal["from", "to"]]
DIRECTIONS: tuple[Direction, Direction] = (("ingress", "from"), ("egress", "to"))


def upper_case_protocols(spec: PolicySpecV1) -> tuple[PolicySpecV1, list[str]]:
    """The spec with `tcp` as `TCP`, as extensions/v1beta1 was written in its day, and a warning for each."""
    warnings = []
    for path, port in _ports(spec):
        given = port.get("protocol", "")
        if given not in PROTOCOLS and given.upper() in PROTOCOLS:
            text = f"{path}.protocol: {quoted(given)} is taken as {quoted(given.upper())}; networking.k8s.io/v1 refuses it"
            warnings.append(text)
    return _with_ports(spec, _upper_case), warnings


def defaulted(spec: PolicySpecV1) -> PolicySpecV1:
    """The spec with what the API fills in: TCP, and the policy types that follow from the rules."""
    filled = _with_ports(spec, _default_port)
    if not filled.get("policyTypes"):
        filled["policyTypes"] = ["Ingress", "Egress"] if filled.get("egress") else ["Ingress"]
    return filled


def policy_faults(policy: NetworkPolicyV1) -> list[Fault]:
    """Everything that the API refuses in a defaulted policy, in its order."""
    spec = policy["spec"]
    faults = metadata_faults(policy["metadata"], dns_subdomain)
    faults += selector_faults(spec["podSelector"], "spec.podSelector")
    for rules, peers in DIRECTIONS:
        for index, rule in enumerate(spec.get(rules, [])):
            faults += _rule_faults(rule, peers, f"spec.{rules}[{index}]")
    return faults + _type_faults(spec.get("policyTypes", []))


def policy_warnings(spec: PolicySpecV1) -> list[str]:
    """What the API accepts and warns of."""
    warnings = []
    for rules, peers in DIRECTIONS:
        for number, rule in enumerate(spec.get(rules, [])):
            for index, peer in enumerate(rule.get(peers, [])):
                block = peer.get("ipBlock")
                if block is not None:
                    path = f"spec.{rules}[{number}].{peers}[{index}].ipBlock"
                    warnings += block_warnings(block["cidr"], block.get("except", []), path)
    return warnings


def _rule_faults(rule: RuleV1, peers: Literal["from", "to"], path: str) -> list[Fault]:
    faults = []
    for index, port in enumerate(rule.get("ports", [])):
        faults += _port_faults(port, f"{path}.ports[{index}]")
    for index, peer in enumerate(rule.get(peers, [])):
        faults += _peer_faults(peer, f"{path}.{peers}[{index}]")
    return faults


def _port_faults(port: PolicyPortV1, path: str) -> list[Fault]:
    protocol, number, end = port.get("protocol", ""), port.get("port"), port.get("endPort")
    faults = [] if protocol in PROTOCOLS else [unsupported(f"{path}.protocol", protocol, PROTOCOLS)]
    if isinstance(number, int):
        faults += each_invalid(f"{path}.port", number, port_number(number))
        if end is not None and end < number:
            faults.append(
                invalid(f"{path}.endPort", number, "must be greater than or equal to `port`")
            )  # shows `port`, as the API does
        return faults + (each_invalid(f"{path}.endPort", end, port_number(end)) if end is not None else [])
    if end is not None:
        state = "not specified" if number is None else "non-numeric"
        faults.append(invalid(f"{path}.endPort", end, f"may not be specified when `port` is {state}"))
    return faults + (each_invalid(f"{path}.port", number, port_name(number)) if number is not None else [])


def _peer_faults(peer: PeerV1, path: str) -> list[Fault]:
    faults: list[Fault] = []
    if "podSelector" in peer:
        faults += selector_faults(peer["podSelector"], f"{path}.podSelector")
    if "namespaceSelector" in peer:
        faults += selector_faults(peer["namespaceSelector"], f"{path}.namespaceSelector")
    if "ipBlock" in peer:
        faults += block_faults(peer["ipBlock"]["cidr"], peer["ipBlock"].get("except", []), f"{path}.ipBlock")
        if len(peer) > 1:
            faults.append(forbidden(path, "may not specify both ipBlock and another peer"))
    if not peer:
        faults.append(required(path, "must specify a peer"))
    return faults


def _type_faults(types: list[str]) -> list[Fault]:
    path = "spec.policyTypes"
    if len(types) > len(POLICY_TYPES):
        return [invalid(path, types, "may not specify more than two policyTypes")]
    odd = ((index, name) for index, name in enumerate(types) if name not in POLICY_TYPES)
    return [unsupported(f"{path}[{index}]", name, POLICY_TYPES) for index, name in odd]


def _ports(spec: PolicySpecV1) -> Iterator[tuple[str, PolicyPortV1]]:
    for rules, _ in DIRECTIONS:
        for number, rule in enumerate(spec.get(rules, [])):
            for index, port in enumerate(rule.get("ports", [])):
                yield f"spec.{rules}[{number}].ports[{index}]", port


def _with_ports(spec: PolicySpecV1, change: Callable[[PolicyPortV1], PolicyPortV1]) -> PolicySpecV1:
    changed = spec.copy()
    for rules, _ in DIRECTIONS:
        if rules in spec:
            changed[rules] = [_with_rule_ports(rule, change) for rule in spec[rules]]
    return changed


def _with_rule_ports(rule: RuleV1, change: Callable[[PolicyPortV1], PolicyPortV1]) -> RuleV1:
    return {**rule, "ports": [change(port) for port in rule["ports"]]} if "ports" in rule else rule


def _default_port(port: PolicyPortV1) -> PolicyPortV1:
    return {"protocol": "TCP", **port}


def _upper_case(port: PolicyPortV1) -> PolicyPortV1:
    given = port.get("protocol", "").upper()
    return {**port, "protocol": given} if given in PROTOCOLS else port
