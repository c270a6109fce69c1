"""The compiled model as chains of rules and sets of members: the rules of one family. Pure.

    FORWARD -> ROMANA-FORWARD -> EG (tree by -i) -> eG-<group> -> IN (tree by -o) -> iG-<group> -> OK | NO
                              \\-> RE (answers of an older epoch) -> RI, RO: the same look-ups, mirrored

The order of ROMANA-FORWARD answers one fault a line: docs/adr/0005-policy-in-the-kernel.md lists them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policyd.compiled import Compiled, Direction, Group, PodInterface, RangePeers
from policyd.epoch import mark_text
from policyd.ipset.model import Family, IpSet, SetType, Station
from policyd.iptables.names import ENTRY, group_chain, net_set, port_set, range_set, self_set
from policyd.iptables.rule import ACCEPT, DROP, RETURN, Chains, Match, Rule, Target
from policyd.iptables.tree import Side, tree
from romana.names import HOST_INTERFACE_PREFIX

__all__ = ["ACCEPTED", "ACCEPTS", "JUMPS", "RuleSet", "render", "stamped"]

ACCEPTED, DENIED, ANSWER = "ROMANA-OK", "ROMANA-NO", "ROMANA-RE"
PORT_MAX = 0xFFFF
OURS = f"{HOST_INTERFACE_PREFIX}+"

JUMPS = (
    Rule(Target(ENTRY), in_interface=OURS),
    Rule(Target(ENTRY), in_interface=f"!{OURS}", out_interface=OURS),
)
"""First in FORWARD: only packets of our pods enter, each once. A foreign rule ahead could keep a cut flow alive."""

ACCEPTS = (Rule(ACCEPT, in_interface=OURS), Rule(ACCEPT, out_interface=OURS))
"""Last in FORWARD: what we forbid is dropped by then, rules of others have had their say, and a policy of DROP must not act."""

# Root of each tree, the side that its pod is on, whose rules it leads to, and whether for answers
TREES: tuple[tuple[str, Side, Direction, bool], ...] = (
    ("ROMANA-EG", "in", Direction.EGRESS, False),
    ("ROMANA-IN", "out", Direction.INGRESS, False),
    ("ROMANA-RI", "in", Direction.INGRESS, True),
    ("ROMANA-RO", "out", Direction.EGRESS, True),
)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All that one family's filter table and sets must hold of ours."""

    family: Family
    chains: Chains
    gate: IpSet
    sets: Mapping[str, IpSet]
    """By name, without the gate."""


def render(compiled: Compiled, family: Family, epoch: int) -> RuleSet:
    """The rules and sets of one family. A pod without an address of the family is in none of them: it cannot send or receive."""
    pods = [pod for pod in compiled.pods if any(address.version == family for address in pod.addresses)]
    used = {name for pod in pods for name in (pod.ingress, pod.egress)}
    groups = [group for group in compiled.groups if group.id in used]
    chains = dict(stamped(family, epoch))
    chains[ANSWER] = (Rule(Target("ROMANA-RI")), Rule(Target("ROMANA-RO")), Rule(Target(ACCEPTED, goto=True)))
    chains[DENIED] = _denied(family)
    for root, side, direction, mirrored in TREES:
        chains |= tree(root, side, dict(_places(pods, direction, mirrored=mirrored)))
    for group in groups:
        for mirrored in (False, True):
            chains[group_chain(group.id, group.direction, mirrored=mirrored)] = _group(group, family, mirrored=mirrored)
    stations = frozenset(Station(address, pod.interface) for pod in pods for address in pod.addresses)
    gate = IpSet(self_set(family), SetType.NET_IFACE, family, stations)
    return RuleSet(family, chains, gate, {found.name: found for group in groups for found in _sets(group, family)})


def stamped(family: Family, epoch: int) -> Chains:
    """The two chains that know the epoch."""
    return {ENTRY: _entry(family, epoch), ACCEPTED: _allowed(epoch)}


def _entry(family: Family, epoch: int) -> tuple[Rule, ...]:
    return (
        # Send check: the address must be the interface's own. Ahead of everything, or a pod could speak in another's flow.
        Rule(DROP, in_interface=OURS, matches=(_in_set(f"!{self_set(family)}", "src,src"),)),
        Rule(RETURN, matches=(_state("RELATED,ESTABLISHED"), Match("connmark", (("mark", mark_text(epoch)),)))),
        # Receive check: what is not in the gate is not reached either.
        Rule(DROP, out_interface=OURS, matches=(_in_set(f"!{self_set(family)}", "dst,dst"),)),
        # An ICMP error of an older epoch must never get its flow stamped anew.
        Rule(DROP, matches=(_state("RELATED"),)),
        Rule(Target(ANSWER, goto=True), matches=(Match("conntrack", (("ctstate", "ESTABLISHED"), ("ctdir", "REPLY"))),)),
        Rule(DROP, matches=(_state("INVALID"),)),
        # A TCP flow that was lost from the table must not be picked up the wrong way round.
        Rule(DROP, protocol="tcp", matches=(Match("tcp", (("tcp-flags", "!FIN,SYN,RST,ACK SYN"),)), _state("NEW"))),
        Rule(Target("ROMANA-EG")),
        Rule(Target("ROMANA-IN")),
        Rule(Target(ACCEPTED, goto=True)),
    )


def _allowed(epoch: int) -> tuple[Rule, ...]:
    return (Rule(Target("CONNMARK", options=(("set-xmark", mark_text(epoch)),))), Rule(RETURN))


def _denied(family: Family) -> tuple[Rule, ...]:
    # Hairpin: the packet goes back to the pod that it came from, which reached itself by way of a service.
    itself = (_in_set(self_set(family), "src,dst"), _in_set(self_set(family), "src,src"))
    return (Rule(Target(ACCEPTED, goto=True), matches=itself), Rule(DROP))


def _places(pods: list[PodInterface], direction: Direction, *, mirrored: bool) -> Iterator[tuple[str, str]]:
    for pod in pods:
        group = pod.ingress if direction is Direction.INGRESS else pod.egress
        if group is not None:
            yield pod.interface, group_chain(group, direction, mirrored=mirrored)


def _group(group: Group, family: Family, *, mirrored: bool) -> tuple[Rule, ...]:
    """Peer and port are looked up from the pod's side: its peer is the source of a request that comes in, its own port the
    destination's; in an answer everything is the other way round."""
    port = "src" if mirrored else "dst"
    peer = "src" if (group.direction is Direction.INGRESS) != mirrored else "dst"
    return (
        Rule(RETURN, matches=(_in_set(port_set(group, family), f"{peer},{port}"),)),
        Rule(RETURN, matches=(_in_set(net_set(group, family), peer),)),
        *(_range(group, ports, family, peer, "sport" if mirrored else "dport") for ports in group.ranges),
        Rule(Target(DENIED, goto=True)),
    )


def _range(group: Group, ports: RangePeers, family: Family, peer: str, option: str) -> Rule:
    protocol = ports.protocol.name.lower()
    span = str(ports.first) if ports.first == ports.last else f"{ports.first}:{ports.last}"
    every = (ports.first, ports.last) == (0, PORT_MAX)
    matches = () if every else (Match(protocol, ((option, span),)),)
    return Rule(RETURN, protocol=protocol, matches=(*matches, _in_set(range_set(group, ports, family), peer)))


def _sets(group: Group, family: Family) -> Iterator[IpSet]:
    yield IpSet(port_set(group, family), SetType.NET_PORT, family, group.port_peers)
    yield IpSet(net_set(group, family), SetType.NET, family, group.peers)
    for ports in group.ranges:
        yield IpSet(range_set(group, ports, family), SetType.NET, family, ports.peers)


def _state(names: str) -> Match:
    return Match("conntrack", (("ctstate", names),))


def _in_set(name: str, sides: str) -> Match:
    negated, bare = ("!", name[1:]) if name.startswith("!") else ("", name)
    return Match("set", (("match-set", f"{negated}{bare} {sides}"),))
