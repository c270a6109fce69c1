"""Whether one connection is allowed, and which rules decide: the evaluator that everything else is held to. Pure.

    source, destination --resolve--> sides --egress of the source, ingress of the destination--> two decisions --> verdict

Both ends must allow it. Judged is the first packet; answers follow their connection. Not judged here: a node and its own pods
reach each other whatever the policies say, as Kubernetes has it; and what a Service's address is translated to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from policyd.cluster import Cluster, CoveredPod
from policyd.compiled import Direction, Protocol
from policyd.policy import IpBlock, NamedPorts, NetworkPolicy, ObjectName, Peer, Ports, Rule
from policyd.selection import is_in, isolating_policies
from policyd.verdict_sides import Party, Side, resolve
from romana.errors import InvalidInput

__all__ = ["Decision", "Party", "Reason", "RuleRef", "Verdict", "verdict"]


class Reason(Enum):
    """Why one end allows or forbids."""

    NOT_ISOLATED = "not isolated"
    RULE = "a rule allows it"
    NO_RULE = "no rule matched"
    ITSELF = "a pod always reaches itself"
    OUTSIDE = "no pod, so no policy"
    GONE = "it has no network any more, or never had a Pod"


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where in a policy the deciding words stand; `peer` None: no peers given, `port` None: no ports given."""

    policy: ObjectName
    direction: Direction
    rule: int
    peer: int | None = None
    port: int | None = None

    def __str__(self) -> str:
        peers = "from" if self.direction is Direction.INGRESS else "to"
        peer = "" if self.peer is None else f".{peers}[{self.peer}]"
        port = "" if self.port is None else f" ports[{self.port}]"
        return f"{self.policy} {self.direction.value}[{self.rule}]{peer}{port}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one end says: `isolating` are the policies that isolate it in this direction, `rule` the first that allows."""

    allowed: bool
    reason: Reason
    isolating: tuple[ObjectName, ...] = ()
    rule: RuleRef | None = None

    def __str__(self) -> str:
        if self.reason is Reason.RULE:
            return f"allowed by {self.rule}"
        if self.reason is Reason.NO_RULE:
            return f"no rule matched; isolated by {', '.join(map(str, self.isolating))}"
        return str(self.reason.value)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both ends' decisions; allowed when both allow."""

    allowed: bool
    egress: Decision
    ingress: Decision


def verdict(cluster: Cluster, source: Party, destination: Party, port: int | None, protocol: Protocol | None) -> Verdict:
    """What becomes of a connection from source to destination.

    A party is a pod's name, an address (a pod's address stands for that pod), or a network of addresses outside. Pods of two
    families meet in the first that both have: name an address to ask for the other. `protocol` None is any other protocol, such
    as ICMP, and `port` is then None. Raises InvalidInput for a party that has no address, for two that share no family, for a
    port without its protocol, and for a network of which only a part would be allowed.
    """
    if (port is None) is not (protocol is None):
        raise InvalidInput(f"port {port} with protocol {protocol}: both or neither must be given")
    sides = resolve(cluster, source, destination)
    if sides.same_pod:
        itself = Decision(True, Reason.ITSELF)
        return Verdict(True, itself, itself)
    egress = _decide(cluster, Direction.EGRESS, sides.source, sides.destination, port, protocol)
    ingress = _decide(cluster, Direction.INGRESS, sides.destination, sides.source, port, protocol)
    return Verdict(egress.allowed and ingress.allowed, egress, ingress)


def _decide(
    cluster: Cluster, direction: Direction, own: Side, other: Side, port: int | None, protocol: Protocol | None
) -> Decision:
    if own.gone:
        return Decision(False, Reason.GONE)
    if own.pod is None:
        return Decision(True, Reason.OUTSIDE)
    policies = isolating_policies(cluster, own.pod, direction)
    if not policies:
        return Decision(True, Reason.NOT_ISOLATED)
    isolating = tuple(policy.key for policy in policies)
    receiver = own.pod if direction is Direction.INGRESS else other.pod
    for policy, number, rule in _rules(policies, direction):
        found = _match(cluster, rule, other, receiver, port, protocol)
        if found:
            return Decision(True, Reason.RULE, isolating, RuleRef(policy.key, direction, number, *found))
    return Decision(False, Reason.NO_RULE, isolating)


def _rules(policies: list[NetworkPolicy], direction: Direction) -> Iterator[tuple[NetworkPolicy, int, Rule]]:
    for policy in policies:
        for number, rule in enumerate(policy.rules(direction) or ()):
            yield policy, number, rule


def _match(
    cluster: Cluster, rule: Rule, other: Side, receiver: CoveredPod | None, port: int | None, protocol: Protocol | None
) -> tuple[int | None, int | None] | None:
    """Indexes of the peer and the ports that match; None when the rule does not allow it."""
    peer = next((index for index, peer in enumerate(rule.peers) if _is_peer(cluster, peer, other)), None)
    ports = next((index for index, ports in enumerate(rule.ports) if _is_port(ports, receiver, port, protocol)), None)
    if (rule.peers and peer is None) or (rule.ports and ports is None):
        return None
    return peer, ports


def _is_peer(cluster: Cluster, peer: Peer, other: Side) -> bool:
    if isinstance(peer, IpBlock):
        return other.lies_in(peer)
    return other.pod is not None and is_in(other.pod, peer, cluster.namespaces)


def _is_port(ports: Ports, receiver: CoveredPod | None, port: int | None, protocol: Protocol | None) -> bool:
    """A name is what the receiving pod says it is: whatever lies outside has no names."""
    if port is None or protocol is not ports.protocol:
        return False
    if isinstance(ports, NamedPorts):
        return receiver is not None and port in receiver.ports(ports.name, ports.protocol)
    return ports.first <= port <= ports.last
