"""Compiles the rules of some policies into the sets of one group: their union, without what a wider entry allows already. Pure.

rules --peers to networks, names to numbers--> networks per port range --union, widest first, less what is covered--> Group
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from policyd.cidr import EVERYONE, Cover, difference, disjoint
from policyd.compiled import Direction, Group, Network, PortPeers, Protocol, RangePeers
from policyd.compiler_members import Members
from policyd.policy import IpBlock, NamedPorts, NumberedPorts, Peer, Rule

__all__ = ["PortEntries", "group_of"]

Networks = frozenset[Network]
Signature = tuple[tuple[str, str, int], ...]


class _Range(NamedTuple):
    """Ports of a protocol, by its number; a single port has first == last."""

    protocol: int
    first: int
    last: int

    def within(self, other: "_Range") -> bool:
        return self.protocol == other.protocol and other.first <= self.first and self.last <= other.last


@dataclass
class _Draft:
    """Contributions of rules, not united yet."""

    peers: list[Networks] = field(default_factory=list)
    ranges: dict[_Range, list[Networks]] = field(default_factory=dict)

    def add(self, protocol: Protocol, first: int, last: int, networks: Networks) -> None:
        if networks:
            self.ranges.setdefault(_Range(protocol.value, first, last), []).append(networks)


class PortEntries:
    """Makes the entries of networks for one port, and remembers them: groups share peers, and hashing entries is what costs."""

    def __init__(self) -> None:
        self._before: dict[tuple[Networks, int, int], frozenset[PortPeers]] = {}
        self._recent: dict[tuple[Networks, int, int], frozenset[PortPeers]] = {}

    def of(self, networks: Networks, protocol: int, port: int) -> frozenset[PortPeers]:
        """One entry per network."""
        key = (networks, protocol, port)
        found = self._recent.get(key) or self._before.get(key)
        if found is None:
            found = frozenset(PortPeers(network, Protocol(protocol), port) for network in networks)
        self._recent[key] = found
        return found

    def keep_recent(self) -> None:
        """Forget what was not asked for since this was called the time before last."""
        self._before, self._recent = self._recent, {}


def group_of(
    group_id: str, direction: Direction, rules: Iterable[Rule], ports: Signature, members: Members, entries: PortEntries
) -> Group:
    """The group that allows what any of the rules allows; `ports` resolves the names of ingress rules."""
    draft = _Draft()
    for rule in rules:
        _add_rule(draft, rule, direction, ports, members)
    peers = disjoint(_union(draft.peers))
    if peers >= EVERYONE:
        return Group(group_id, direction, peers=peers)
    singles: list[frozenset[PortPeers]] = []
    ranges: list[RangePeers] = []
    for wanted, parts, networks in _uncovered(draft.ranges, peers):
        protocol, first, last = wanted
        if first == last:
            singles.extend(_entries(wanted, parts, networks, entries))
        elif networks:
            ranges.append(RangePeers(Protocol(protocol), first, last, networks))
    ranges.sort(key=lambda one: (one.protocol.value, one.first, one.last))
    return Group(group_id, direction, frozenset().union(*singles), peers, tuple(ranges))


def _add_rule(draft: _Draft, rule: Rule, direction: Direction, signature: Signature, members: Members) -> None:
    if not rule.ports:
        draft.peers.extend(_networks(rule, members))
    for ports in rule.ports:
        for first, last, networks in _opened(rule, ports, direction, signature, members):
            draft.add(ports.protocol, first, last, networks)


def _opened(
    rule: Rule, ports: NumberedPorts | NamedPorts, direction: Direction, signature: Signature, members: Members
) -> Iterator[tuple[int, int, Networks]]:
    """First and last port, and who may use them; a name means what the receiving pod says: this one's, or each peer's."""
    if isinstance(ports, NumberedPorts):
        yield from ((ports.first, ports.last, networks) for networks in _networks(rule, members))
    elif direction is Direction.INGRESS:
        numbers = [number for name, protocol, number in signature if (name, protocol) == (ports.name, ports.protocol.name)]
        yield from ((number, number, networks) for number in numbers for networks in _networks(rule, members))
    else:
        for peer in rule.peers or (None,):
            yield from ((number, number, networks) for number, networks in _by_port(peer, ports, members).items())


def _networks(rule: Rule, members: Members) -> Iterator[Networks]:
    """The networks of each peer."""
    if not rule.peers:
        yield EVERYONE
    for peer in rule.peers:
        yield difference(peer.cidr, peer.excepts) if isinstance(peer, IpBlock) else members.networks(peer)


def _by_port(peer: Peer | None, ports: NamedPorts, members: Members) -> Mapping[int, Networks]:
    """Who has the named port, by its number; where anybody or an address block is the peer, every pod is asked."""
    if peer is not None and not isinstance(peer, IpBlock):
        return members.by_port(peer, ports)
    found = members.by_port(ports, ports)
    if peer is None:
        return found
    return {port: frozenset(one for one in networks if peer.holds(one.network_address)) for port, networks in found.items()}


def _uncovered(drafts: Mapping[_Range, list[Networks]], peers: Networks) -> Iterator[tuple[_Range, list[Networks], Networks]]:
    """Each range with its contributions, and with the networks that neither `peers` nor a wider range lets in already."""
    covers: list[tuple[_Range | None, Cover]] = [(None, Cover(peers))]
    for wanted in sorted(drafts, key=lambda one: (one.first - one.last, one)):
        networks = disjoint(_union(drafts[wanted]))
        for wider, cover in covers:
            if wider is None or wanted.within(wider):
                networks = cover.rest(networks)
        if wanted.first < wanted.last:
            covers.append((wanted, Cover(networks)))
        yield wanted, drafts[wanted], networks


def _entries(wanted: _Range, parts: list[Networks], networks: Networks, entries: PortEntries) -> Iterator[frozenset[PortPeers]]:
    """The entries of one port; made from its contributions, which other groups share, where nothing of them was dropped."""
    whole = len(networks) == len(_union(parts))
    yield from (entries.of(part, wanted.protocol, wanted.first) for part in (parts if whole else [networks]))


def _union(parts: list[Networks]) -> Networks:
    return parts[0] if len(parts) == 1 else frozenset().union(*parts)
