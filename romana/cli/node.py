"""`romana node`: the machines of the cluster."""

from collections.abc import Iterable
from typing import Annotated

import typer

from romana.cli import node_install, node_life
from romana.cli.context import CALL_TIMEOUT_S, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, enum_word, print_json, print_table
from romana.cli.status_topology import moves_line
from romana.lab.plan import parse_labels
from romana.v1.node_pb2 import (
    AddNodeRequest,
    AddNodeResponse,
    GetNodeRequest,
    GetNodeResponse,
    ListNodesRequest,
    ListNodesResponse,
    PendingMove,
)
from romana.v1.store_pb2 import Node, NodeState
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["app", "list_all"]

app = typer.Typer(help="Nodes: add them, list them, show one with its blocks; the CNI plugin on this one.", no_args_is_help=True)

app.command()(node_life.drain)
app.command()(node_life.remove)
app.command()(node_install.install)
app.command()(node_install.uninstall)

COLUMNS = ("node", "addresses", "state", "groups", "labels")


@app.command(name="list")
def list_nodes(output: OutputOption = Output.TABLE) -> None:
    """All nodes and the groups they were placed in."""
    answer = run(list_all())
    if output is Output.JSON:
        pending = [as_dict(move) for move in answer.pending]
        print_json({"nodes": [as_dict(node) for node in answer.nodes], "revision": answer.revision, "pending": pending})
        return
    print_table(COLUMNS, map(_row, answer.nodes), "no nodes; add one with: romana node add NAME --address IP")
    _print_moves(answer.pending)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], output: OutputOption = Output.TABLE) -> None:
    """One node, with how full its blocks are."""
    answer = run(_get(name))
    if output is Output.JSON:
        blocks, pending = [as_dict(block) for block in answer.blocks], [as_dict(move) for move in answer.pending]
        print_json({**as_dict(answer.node), "blocks": blocks, "pending": pending})
        return
    print_table(COLUMNS, [_row(answer.node)], "")
    _print_moves(answer.pending)
    rows = [(block.network, block.cidr, block.held, block.cooling, block.reserved, block.free) for block in answer.blocks]
    print_table(("network", "block", "held", "cooling", "reserved", "free"), rows, "no blocks")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    address: Annotated[list[str], typer.Option(help="Address that other nodes route to; once per family.")],
    label: Annotated[list[str] | None, typer.Option(help="k=v; may be repeated.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a node and place it in the topology; again with the same arguments changes nothing."""
    answer = run(_add(AddNodeRequest(name=name, addresses=address, labels=parse_labels(label or []))))
    if output is Output.JSON:
        pending = [as_dict(move) for move in answer.pending]
        print_json({"changed": answer.changed, "node": as_dict(answer.node), "revision": answer.revision, "pending": pending})
    else:
        groups = ", ".join(f"{place.group_path} {place.group_cidr}" for place in answer.node.placements) or "no group yet"
        typer.echo(f"node {name} {'added' if answer.changed else 'was there already'}: {groups}")
        _print_moves(answer.pending)


def _print_moves(pending: Iterable[PendingMove]) -> None:
    for move in pending:
        typer.echo(f"{moves_line(move)}: romana node drain {move.node}")


async def list_all() -> ListNodesResponse:
    """What ipamd says of all nodes."""
    async with ipamd() as client:
        return await client.call(
            lambda channel, left: TopologyStub(channel).ListNodes(ListNodesRequest(), timeout=left), CALL_TIMEOUT_S
        )


async def _get(name: str) -> GetNodeResponse:
    request = GetNodeRequest(name=name)
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).GetNode(request, timeout=left), CALL_TIMEOUT_S)


async def _add(request: AddNodeRequest) -> AddNodeResponse:
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).AddNode(request, timeout=left), CALL_TIMEOUT_S)


def _row(node: Node) -> tuple[object, ...]:
    state = enum_word(NodeState.DESCRIPTOR, NodeState.Name(node.state))
    groups = " ".join(f"{place.group_path}:{place.group_cidr}" for place in node.placements) or "none"
    return node.name, " ".join(node.addresses), state, groups, ",".join(f"{k}={v}" for k, v in sorted(node.labels.items()))
