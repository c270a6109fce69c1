"""A model of one family's rules and sets: carries out plans, and judges the first packet of a connection as netfilter would."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from policyd.compiled import Address, Compiled, PortPeers, Protocol
from policyd.ipset.model import IpSet, Member, SetType, Station
from policyd.iptables.blob import ForwardRule
from policyd.iptables.observed import Observed
from policyd.iptables.plan import Plan, plan_family
from policyd.iptables.render import ACCEPTS, JUMPS, RuleSet, render, stamped
from policyd.iptables.rule import Chains, Match, Rule
from policyd.iptables.stepping import crossed_groups, stepping_stone

__all__ = ["EPOCH", "Kernel", "Packet", "applied", "asked_sets", "enforced", "passes", "steps"]

EPOCH = 7
FRAME = tuple(ForwardRule(rule.in_interface, rule.out_interface, True, rule.target.name) for rule in (*JUMPS, *ACCEPTS))


@dataclass(frozen=True)
class Kernel:
    """What one family's table and sets hold of ours."""

    chains: Chains
    sets: Mapping[str, IpSet]
    epoch: int = EPOCH

    def observed(self) -> Observed:
        """As the data plane reads it."""
        chains = {name: tuple(map(str, rules)) for name, rules in self.chains.items()}
        return Observed(chains, FRAME if self.chains else (), self.sets)


@dataclass(frozen=True)
class Packet:
    """The first of a connection."""

    source: Address
    destination: Address
    protocol: Protocol
    port: int
    in_interface: str
    out_interface: str


def enforced(compiled: Compiled) -> Kernel:
    """A kernel that holds a model."""
    rules = render(compiled, 4, EPOCH)
    return Kernel(rules.chains, {rules.gate.name: rules.gate, **rules.sets})


def applied(kernel: Kernel, after: Compiled) -> Iterator[Kernel]:
    """Every state on the way to a model, over a stepping stone where pods need one, in the order that the data plane goes."""
    desired, observed = render(after, 4, kernel.epoch), kernel.observed()
    plan = plan_family(desired, observed)
    if crossed := crossed_groups(desired, observed, plan):
        stone = render(stepping_stone(after, crossed, [observed]), 4, kernel.epoch)
        for state in steps(kernel, stone, plan_family(stone, observed)):
            yield (kernel := state)
        desired, observed = render(after, 4, kernel.epoch), kernel.observed()
        plan = plan_family(desired, observed)
        assert not crossed_groups(desired, observed, plan)
    yield from steps(kernel, desired, plan)


def steps(kernel: Kernel, desired: RuleSet, plan: Plan) -> Iterator[Kernel]:
    """Every state of one plan."""
    gate = desired.gate
    if plan.close:
        yield (kernel := _changed(kernel, gate, less=plan.close))
    for change in plan.create:
        assert change.set.name not in kernel.sets
        yield (kernel := _changed(kernel, change.set, more=change.members))
    for change in plan.grow:
        yield (kernel := _changed(kernel, change.set, more=change.members))
    chains = {name: rules for name, rules in {**kernel.chains, **plan.rules.chains}.items() if name not in plan.rules.delete}
    yield (kernel := replace(kernel, chains=chains))
    for change in plan.shrink:
        yield (kernel := _changed(kernel, change.set, less=change.members))
    yield (kernel := replace(kernel, sets={name: found for name, found in kernel.sets.items() if name not in plan.destroy}))
    if plan.bump:
        yield (kernel := replace(kernel, chains={**kernel.chains, **stamped(4, kernel.epoch + 1)}, epoch=kernel.epoch + 1))
    yield _changed(kernel, gate, more=plan.open)


def asked_sets(kernel: Kernel) -> set[str]:
    """The sets that rules name; the kernel takes no such rule without its set, and destroys no such set."""
    rules = [rule for chain in kernel.chains.values() for rule in chain]
    return {_set_of(match)[0] for rule in rules for match in rule.matches if match.name == "set"}


def passes(kernel: Kernel, root: str, packet: Packet) -> bool:
    """Whether the rules under a chain let the packet go on: they drop it or come back."""
    return _run(kernel, root, packet) != "DROP"


def _changed(
    kernel: Kernel, found: IpSet, more: frozenset[Member] = frozenset(), less: frozenset[Member] = frozenset()
) -> Kernel:
    before = kernel.sets[found.name].members() if found.name in kernel.sets else frozenset()
    return replace(kernel, sets={**kernel.sets, found.name: replace(found, content=before - less | more)})


def _run(kernel: Kernel, chain: str, packet: Packet) -> str:
    for rule in kernel.chains[chain]:
        if not _matches(kernel, rule, packet):
            continue
        name = rule.target.name
        if rule.target.goto:
            return _run(kernel, name, packet)
        if name in {"DROP", "RETURN"}:
            return name
        if name in kernel.chains and _run(kernel, name, packet) == "DROP":
            return "DROP"
    return "RETURN"


def _matches(kernel: Kernel, rule: Rule, packet: Packet) -> bool:
    interfaces = _fits(rule.in_interface, packet.in_interface) and _fits(rule.out_interface, packet.out_interface)
    protocol = rule.protocol in {"", packet.protocol.name.lower()}
    return interfaces and protocol and all(_holds(kernel, match, packet) for match in rule.matches)


def _fits(wanted: str, interface: str) -> bool:
    if wanted.startswith("!"):
        return not _fits(wanted[1:], interface)
    return not wanted or wanted == interface or (wanted.endswith("+") and interface.startswith(wanted[:-1]))


def _holds(kernel: Kernel, match: Match, packet: Packet) -> bool:
    if match.name == "set":
        name, sides, wanted = _set_of(match)
        return _is_member(kernel.sets[name], sides, packet) is wanted
    if match.name in {"tcp", "udp", "sctp"} and match.options[0][0] == "dport":
        first, _, last = match.options[0][1].partition(":")
        return int(first) <= packet.port <= int(last or first)
    return False  # states of connections that are not new


def _set_of(match: Match) -> tuple[str, list[str], bool]:
    """Name, sides, and whether it must be a member."""
    name, sides = match.options[0][1].split()
    return name.lstrip("!"), sides.split(","), not name.startswith("!")


def _is_member(found: IpSet, sides: list[str], packet: Packet) -> bool:
    address = packet.source if sides[0] == "src" else packet.destination
    interface = packet.in_interface if sides[-1] == "src" else packet.out_interface
    if found.type is SetType.NET_IFACE:
        return any((address, interface) == (one.address, one.interface) for one in found.members() if isinstance(one, Station))
    if found.type is SetType.NET:
        return any(address in net for net in found.members() if isinstance(net, IPv4Network))
    assert sides[1] == "dst"
    ports = [one for one in found.members() if isinstance(one, PortPeers)]
    return any(address in one.peer and (one.protocol, one.port) == (packet.protocol, packet.port) for one in ports)
