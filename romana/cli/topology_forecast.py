"""`romana topology forecast`: what a topology gives before it is built, and how long the one in force lasts."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from ipam.forecast import Forecast, forecast, imagined_nodes
from ipam.growth import Growth, growth
from ipam.topology.carving import carve
from ipam.topology.document import TopologyDocument
from ipam.topology.reading import read_document as parse_document
from romana import keys
from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run, store
from romana.cli.output import Output, OutputOption, print_json, print_table, say
from romana.cli.shown import read_topology_file
from romana.errors import NotFound
from romana.v1.node_pb2 import ListNodesRequest, ListNodesResponse
from romana.v1.store_pb2 import ADDRESS_STATE_HELD, Address, JournalRecord
from romana.v1.topology_pb2 import ShowRequest, ShowResponse
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["topology_forecast"]

PROGRESS_S = 2.0
HOURS_UNTIL_DAYS = 2.0
"""What was measured over less than this is told in hours."""


def topology_forecast(
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, max=100_000)],
    pods_per_node: Annotated[int, typer.Option(help="How many pods on each.", min=0, max=10_000)],
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="A topology; absent: the one in force.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose pods.")] = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Place so many nodes and fill them with so many pods, by the real allocator in memory; with FILE no cluster is asked.

    Nodes are the hosts that the document lists, then ones with the labels of the cluster's nodes, or of the groups, in turn.
    Exit 0: all pods stand. Exit 1: one got no address, or a node no group.
    """
    known: Sequence[Mapping[str, str]] = ()
    lately: Sequence[Growth] | None = None
    if file is not None:
        document = parse_document(read_topology_file(file))
    else:
        document, known, lately = run(_in_force())
    found = forecast(
        document, imagined_nodes(carve(document), known, nodes), pods_per_node, tenant, _Progress(nodes * pods_per_node)
    )
    if output is Output.JSON:
        print_json({**asdict(found), "growth": [asdict(one) for one in lately] if lately is not None else None})
    else:
        _print(found, lately)
    raise typer.Exit(Exit.FOUND if found.first_failure or found.refused_nodes else Exit.FINE)


class _Progress:
    def __init__(self, total: int) -> None:
        self._total, self._told = total, time.monotonic()

    def __call__(self, pods: int) -> None:
        if time.monotonic() - self._told > PROGRESS_S:
            self._told = time.monotonic()
            say(f"  {pods} of {self._total} pods stand")


async def _in_force() -> tuple[TopologyDocument, Sequence[Mapping[str, str]], Sequence[Growth]]:
    async with ipamd() as client:
        shown: ShowResponse = await client.call(
            lambda channel, left: TopologyStub(channel).Show(ShowRequest(), timeout=left), CALL_TIMEOUT_S
        )
        listed: ListNodesResponse = await client.call(
            lambda channel, left: TopologyStub(channel).ListNodes(ListNodesRequest(), timeout=left), CALL_TIMEOUT_S
        )
    if not shown.document:
        raise NotFound("no topology is in force; name a FILE, or put one in force with: romana topology apply FILE")
    document = parse_document(bytes(shown.document))
    return document, [dict(node.labels) for node in listed.nodes], await _growth(document)


async def _growth(document: TopologyDocument) -> Sequence[Growth]:
    async with store() as opened:
        addresses, journal = await asyncio.gather(opened.list(keys.ADDRESSES), opened.list(keys.JOURNAL))
    used, held, past = Counter[str](), defaultdict[str, list[int]](list), defaultdict[str, list[tuple[int, int]]](list)
    for item in addresses.items:
        network, record = keys.parse_address(item.key)[0], Address.FromString(item.value)
        used[network] += 1
        if record.state == ADDRESS_STATE_HELD:
            held[network].append(record.since.ToMilliseconds())
    for entry in (JournalRecord.FromString(item.value) for item in journal.items):
        past[entry.network].append((entry.since.ToMilliseconds(), entry.until.ToMilliseconds()))
    room = Counter[str]()
    for prefix in carve(document):
        room[prefix.network] += 0 if prefix.pad else prefix.cidr.num_addresses
    now_ms = time.time_ns() // 1_000_000
    return [growth(name, held[name], past[name], room[name] - used[name], now_ms) for name in (n.name for n in document.networks)]


def _print(found: Forecast, lately: Sequence[Growth] | None) -> None:
    columns = ("network", "group", "prefix", "nodes", "addresses held", "blocks taken", "blocks left")
    rows = (
        (g.network, f"{g.path} ({g.name})", g.cidr, g.nodes, g.addresses_held, g.blocks_taken, g.blocks_left)
        for g in found.groups
    )
    print_table(columns, rows, "no groups")
    typer.echo(f"{found.pods} pods stand on {found.nodes} nodes")
    typer.echo(f"routes on a node, at most: {found.routes}; with one for each prefix of another group: {found.routes_aggregated}")
    if found.refused_nodes:
        typer.echo(f"{len(found.refused_nodes)} nodes fit no group, the first of them {found.refused_nodes[0]}")
    if found.first_failure:
        typer.echo(f"the next pod gets no address: {found.first_failure}")
    for one in lately or ():
        typer.echo(_growth_line(one))


def _growth_line(one: Growth) -> str:
    over = f"the last {one.over_days:.0f} days" if one.over_days >= HOURS_UNTIL_DAYS else f"the last {one.over_days * 24:.0f} h"
    rate = f"network {one.network}: {one.live} addresses are held now, {one.per_day:+.1f} a day over {over}"
    return f"{rate}; at that rate it is full in {one.days_left:.0f} days" if one.days_left is not None else rate
