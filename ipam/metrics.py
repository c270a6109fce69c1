"""The metrics of ipamd: what it counted, and what its state holds now.

Addresses are summed from the allocator's own blocks when the page is asked for, in parts of PART blocks: nothing is kept for it
while addresses are given out. Series: 5 a network, 8 a group, 5 a node and network; docs/metrics.md has the whole list.
"""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

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
    for group in state.occupancy.groups():
        found.group(group.network, group.path, group.cidr, group.reserved)
    for node in state.nodes.rows.values():
        found.node(node.value.name, (placement.network for placement in node.value.placements))
    yield None
    blocks, now_s = state.occupancy.blocks(), clock()
    for number, (key, block) in enumerate(blocks, 1):
        network, row = keys.parse_block(key)[0], state.blocks.rows.get(key)
        group_of = state.occupancy.group_at(network, block.cidr)
        found.take(network, group_of[1] if group_of else None, row.value.node if row else None, block, now_s)
        if number % PART == 0:
            yield None
    yield found


def _addresses(state: State, clock: Callable[[], float]) -> Iterator[Metric | None]:
    groups = {(group.network, group.path): group for group in state.occupancy.groups()}
    found = Tally()
    for step in tally(state, clock):
        if step is None:
            yield None
        else:
            found = step
    by_network: dict[Labels, Use] = {(name,): use for name, use in found.networks.items()}
    yield from _uses("network", "a network", ("network",), by_network)
    by_group: dict[Labels, Use] = {key: use for key, use in found.groups.items() if key in groups}
    yield from _uses("group", "a group", ("network", "group"), by_group)
    taken: dict[Labels, float] = {(*key, "taken"): groups[key[0], key[1]].taken for key in by_group}
    free: dict[Labels, float] = {(*key, "free"): groups[key[0], key[1]].free for key in by_group}
    words = "Blocks of a group: in a node's hands or kept back, and left"
    yield from gauges("romana_ipam_group_blocks", words, ("network", "group", "state"), taken | free)
    full: dict[Labels, float] = {key: not groups[key[0], key[1]].free for key in by_group}
    yield from gauges("romana_ipam_group_full", "1 for a group that has no block left", ("network", "group"), full)
    by_node: dict[Labels, Use] = dict(found.nodes.items())
    addresses = {(*key, name): value for key, use in by_node.items() for name, value in _states(use)}
    words = "Addresses of a node's own blocks"
    yield from gauges("romana_ipam_node_addresses", words, ("node", "network", "state"), addresses)
    blocks: dict[Labels, float] = {key: use.blocks for key, use in by_node.items()}
    yield from gauges("romana_ipam_node_blocks", "Blocks that a node owns", ("node", "network"), blocks)


def _uses(what: str, of: str, labels: tuple[str, ...], uses: dict[Labels, Use]) -> Iterator[Metric]:
    capacity: dict[Labels, float] = {key: use.capacity for key, use in uses.items()}
    yield from gauges(f"romana_ipam_{what}_capacity", f"Addresses of the whole prefix of {of}", labels, capacity)
    states = {(*key, name): value for key, use in uses.items() for name, value in _states(use)}
    yield from gauges(f"romana_ipam_{what}_addresses", f"Addresses of {of}, by state", (*labels, "state"), states)


def _states(use: Use) -> Iterator[tuple[str, float]]:
    return ((name, float(getattr(use, name))) for name in STATES)
