"""The metrics of ipamd: what it counted, and what its state holds now.

Addresses are summed from the allocator's own blocks when the page is asked for, in parts of PART blocks: nothing is kept for it
while addresses are given out. Series: 5 a network, 8 a group, 5 a node and network; docs/metrics.md has the whole list.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from prometheus_client.core import Metric

from ipam.blocks import GroupBlocks
from ipam.counts import IpamCounts
from ipam.recovery import Recovery
from ipam.state import State
from ipam.tally import Tally, Use
from romana import keys
from romana.counting import Labels
from romana.health.families import Source, counter, gauge, gauges, histogram

__all__ = ["ipam_sources", "tally"]

PART = 250
"""Blocks of one part: about a millisecond."""

_Places = Sequence[tuple[Labels, Use]]

STATES = ("allocated", "cooling", "reserved", "free")


def ipam_sources(
    state: State, counts: IpamCounts, recovery: Recovery, clock: Callable[[], float] = time.monotonic
) -> tuple[Source, ...]:
    """`clock` is the state's."""
    return (lambda: _work(state, counts, recovery), lambda: _addresses(state, clock))


def _work(state: State, counts: IpamCounts, recovery: Recovery) -> Iterator[Metric]:
    words = "Seconds that allocations and releases took; each one of a batch by itself"
    yield histogram("romana_ipam_request_seconds", words, ("call", "outcome"), counts.calls)
    yield histogram("romana_ipam_commit_requests", "Requests that shared one transaction", (), counts.sizes)
    yield counter("romana_ipam_commits_total", "Transactions that etcd answered", ("outcome",), counts.commits)
    lag = "Seconds from a commit of ours until the watch tells of it"
    yield histogram("romana_ipam_watch_lag_seconds", lag, (), state.lag.seconds)
    topology = state.in_force()
    yield gauge("romana_ipam_topology_generation", "The topology in force; 0: none", topology.value.generation if topology else 0)
    waiting = "1 while the store is being recovered and no address is given out"
    yield gauge("romana_ipam_recovering", waiting, recovery.under_way)
    draining = sum(row.value.draining for row in state.nodes.rows.values())
    nodes: dict[Labels, float] = {("active",): len(state.nodes.rows) - draining, ("draining",): draining}
    yield from gauges("romana_ipam_nodes", "Nodes by whether they take addresses", ("state",), nodes)


def tally(state: State, clock: Callable[[], float]) -> Iterator[Tally | None]:
    """None as often as others should have their turn, then the sums."""
    found, topology = Tally(), state.in_force()
    for spec in topology.value.document.networks if topology else ():
        found.network(spec.name, spec.cidr, state.occupancy.reserved_of(spec.name))
    for group in state.occupancy.groups().values():
        found.group(group.network, group.path, group.cidr, group.reserved)
    for node in state.nodes.rows.values():
        found.node(node.value.name, (placement.network for placement in node.value.placements))
    yield None
    blocks, now_s = tuple(state.occupancy.blocks().items()), clock()  # as they are now, whatever changes between two parts
    for number, (key, block) in enumerate(blocks, 1):
        network, row = keys.parse_block(key)[0], state.blocks.rows.get(key)
        group_of = state.occupancy.group_at(network, block.cidr)
        found.take(network, group_of[1] if group_of else None, row.value.node if row else None, block, now_s)
        if number % PART == 0:
            yield None
    yield found


def _addresses(state: State, clock: Callable[[], float]) -> Iterator[Metric | None]:
    groups = dict(state.occupancy.groups())
    found = Tally()
    for step in tally(state, clock):
        if step is None:
            yield None
        else:
            found = step
    yield from _uses("network", "a network", ("network",), [((name,), use) for name, use in found.networks.items()])
    by_group: _Places = [(key, use) for key, use in found.groups.items() if key in groups]
    yield from _uses("group", "a group", ("network", "group"), by_group)
    blocks = (((*key, state), value) for key, _ in by_group for state, value in _blocks(groups[key[0], key[1]]))
    words = "Blocks of a group: in a node's hands or kept back, and left"
    yield from gauges("romana_ipam_group_blocks", words, ("network", "group", "state"), blocks)
    full = ((key, float(groups[key[0], key[1]].lowest_free() is None)) for key, _ in by_group)
    yield from gauges("romana_ipam_group_full", "1 for a group that has no block left", ("network", "group"), full)
    by_node: _Places = sorted(found.nodes.items(), key=itemgetter(0))
    yield None
    words = "Addresses of a node's own blocks"
    yield from gauges("romana_ipam_node_addresses", words, ("node", "network", "state"), _by_state(by_node))
    owned = ((key, float(use.blocks)) for key, use in by_node)
    yield from gauges("romana_ipam_node_blocks", "Blocks that a node owns", ("node", "network"), owned)


def _uses(what: str, of: str, labels: tuple[str, ...], places: _Places) -> Iterator[Metric]:
    capacity = ((key, float(use.capacity)) for key, use in places)
    yield from gauges(f"romana_ipam_{what}_capacity", f"Addresses of the whole prefix of {of}", labels, capacity)
    yield from gauges(f"romana_ipam_{what}_addresses", f"Addresses of {of}, by state", (*labels, "state"), _by_state(places))


def _by_state(places: _Places) -> Iterator[tuple[Labels, float]]:
    return (((*key, state), float(getattr(use, state))) for key, use in places for state in STATES)


def _blocks(group: GroupBlocks) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("taken", float(group.taken)), ("free", float(group.free))
