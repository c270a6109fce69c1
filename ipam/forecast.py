"""What a topology gives before it is built: the real placement and the real allocator, in memory. Pure.

    nodes ──place──→ groups      pods, one for each node in turn ──choose, claim ahead──→ blocks      until one gets no address

Pods are of one tenant. A router holds a route for every block of every other node, or, with aggregation, one for each prefix of
another group and the blocks of its own group.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ipam.allocator import Holdings, Pick, after, choose, leaves_reserve, wants_next_block
from ipam.blocks import GroupBlocks, group_blocks, ranges_of
from ipam.demand import Demand
from ipam.networks import choices, reserved_by_document
from ipam.topology.carving import Prefix, carve, fixed_hosts
from ipam.topology.document import TopologyDocument
from ipam.topology.placement import Candidates, fewest
from romana.errors import Exhausted

__all__ = ["Forecast", "GroupForecast", "forecast", "imagined_nodes"]

NOW_S = 0.0  # nothing is ever released
Labels = Mapping[str, str]
Group = tuple[str, str]
"""Network and path."""


@dataclass(frozen=True, slots=True)
class GroupForecast:
    """A group when all pods stand, or when the first one got no address."""

    network: str
    path: str
    name: str
    cidr: str
    nodes: int
    addresses_held: int
    blocks_taken: int
    blocks_left: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The whole."""

    nodes: int
    refused_nodes: tuple[str, ...]
    """Those that no group takes."""
    pods: int
    """How many got their addresses."""
    first_failure: str
    """Empty: none failed."""
    groups: tuple[GroupForecast, ...]
    routes: int
    """The most that a node's router holds without aggregation."""
    routes_aggregated: int
    """The same with it."""


def imagined_nodes(prefixes: Sequence[Prefix], known: Sequence[Labels], count: int) -> list[tuple[str, Labels]]:
    """Nodes to place: the hosts that the document lists, then those with the labels of known nodes or of the groups, in turn."""
    listed: list[tuple[str, Labels]] = [(host.name, {}) for host in fixed_hosts(tuple(prefixes))]
    asked = [dict(prefix.assignment) for prefix in prefixes if not prefix.pad and not prefix.hosts]
    patterns: list[Labels] = list(known) or [dict(pairs) for pairs in dict.fromkeys(tuple(sorted(one.items())) for one in asked)]
    more = [(f"node-{number + 1}", patterns[number % len(patterns)]) for number in range(max(count - len(listed), 0)) if patterns]
    return [*listed, *more][:count]


def forecast(
    document: TopologyDocument,
    nodes: Sequence[tuple[str, Labels]],
    pods_per_node: int,
    tenant: str,
    progress: Callable[[int], None] = lambda _: None,
) -> Forecast:
    """Place the nodes and fill them, pod by pod in turns, until all stand or one gets no address. `progress` hears the count.

    Raises Refused when no network admits the tenant.
    """
    cluster = _Cluster(document, tenant)
    placed = [name for name, labels in nodes if cluster.place(name, labels)]
    failure, pods = "", 0
    for _ in range(pods_per_node):
        for name in placed:
            if failure := cluster.add_pod(name):
                break
            pods += 1
        progress(pods)
        if failure:
            break
    refused = tuple(name for name, _ in nodes if name not in set(placed))
    return Forecast(len(placed), refused, pods, failure, cluster.groups(), *cluster.routes(placed))


class _Cluster:
    def __init__(self, document: TopologyDocument, tenant: str) -> None:
        self._choices = choices(document, Demand(tenant))
        self._prefixes = [prefix for prefix in carve(document) if not prefix.pad]
        self._candidates = Candidates(self._prefixes)
        reserved = {network.name: ranges_of(reserved_by_document(network)) for network in document.networks}
        self._groups: dict[Group, GroupBlocks] = {
            (prefix.network, prefix.path): group_blocks(prefix, reserved=reserved[prefix.network]) for prefix in self._prefixes
        }
        self._members: dict[Group, list[str]] = {group: [] for group in self._groups}
        self._bare: dict[Group, int] = dict.fromkeys(self._groups, 0)
        self._at: dict[str, dict[str, Group]] = {}
        self._holdings: dict[tuple[str, str], Holdings] = {}

    def place(self, name: str, labels: Labels) -> bool:
        """Put a node where it would stand, with its first block; False when nothing takes it."""
        counts = {group: len(members) for group, members in self._members.items()}
        leaves = {network: fewest(found, counts) for network, found in self._candidates.of(name, labels).items()}
        self._at[name] = {network: (leaf.network, leaf.path) for network, leaf in leaves.items()}
        for network, group in self._at[name].items():
            self._members[group].append(name)
            self._bare[group] += 1
            self._holdings[name, network] = Holdings(name, self._groups[group])
            self._claim_ahead(name, network)
        return bool(leaves)

    def add_pod(self, name: str) -> str:
        """Give the node's next pod its addresses; the reason when there are none."""
        why = f"node {name} stands in no network that its pods may use"
        for choice in self._choices:
            networks = [network.name for network in choice]
            if any(network not in self._at[name] for network in networks):
                continue
            try:
                picks = [(network, choose(self._current(name, network), NOW_S)) for network in networks]
            except Exhausted as err:
                why = str(err)
                continue
            for network, pick in picks:
                self._take(name, network, pick)
            return ""
        return why

    def groups(self) -> tuple[GroupForecast, ...]:
        """Every group as it is now, in the order of the document."""
        return tuple(self._group(prefix) for prefix in self._prefixes)

    def routes(self, placed: Sequence[str]) -> tuple[int, int]:
        """The most that any node holds, without and with aggregation."""
        own = {name: sum(len(self._holdings[name, network].blocks) for network in self._at[name]) for name in placed}
        blocks = sum(own.values())
        busy = [group for group, members in self._members.items() if self._taken(members, group[0])]
        flat = max((blocks - count for count in own.values()), default=0)
        return flat, max((self._aggregated(name, busy) for name in placed), default=0)

    def _aggregated(self, name: str, busy: Sequence[Group]) -> int:
        home = set(self._at[name].values())
        beside = sum(self._taken(self._members[group], group[0]) for group in home)
        own = sum(len(self._holdings[name, network].blocks) for network in self._at[name])
        return sum(group not in home for group in busy) + beside - own

    def _taken(self, members: Sequence[str], network: str) -> int:
        return sum(len(self._holdings[name, network].blocks) for name in members)

    def _group(self, prefix: Prefix) -> GroupForecast:
        group = (prefix.network, prefix.path)
        members, blocks = self._members[group], self._groups[group]
        held = sum(block.held.bit_count() for name in members for block in self._holdings[name, prefix.network].blocks)
        taken = self._taken(members, prefix.network)
        shown = (prefix.network, prefix.path, prefix.name, str(prefix.cidr))
        return GroupForecast(*shown, len(members), held, taken, blocks.free)

    def _current(self, name: str, network: str) -> Holdings:
        return replace(self._holdings[name, network], group=self._groups[self._at[name][network]])

    def _take(self, name: str, network: str, pick: Pick) -> None:
        self._keep(name, network, after(self._current(name, network), pick))
        self._claim_ahead(name, network)

    def _claim_ahead(self, name: str, network: str) -> None:
        holdings, group = self._current(name, network), self._at[name][network]
        bare = self._bare[group] - (not holdings.blocks)
        cidr = holdings.group.lowest_free()
        if cidr is not None and wants_next_block(holdings, NOW_S) and leaves_reserve(holdings, bare):
            self._keep(name, network, holdings.with_block(holdings.group.new_block(cidr)))

    def _keep(self, name: str, network: str, holdings: Holdings) -> None:
        group = self._at[name][network]
        self._bare[group] -= bool(holdings.blocks) and not self._holdings[name, network].blocks
        self._holdings[name, network], self._groups[group] = holdings, holdings.group
