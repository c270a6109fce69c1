"""`romana topology`: which networks there are and how their prefixes follow the fabric."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run
from romana.cli.files import read_document
from romana.cli.output import Output, OutputOption, as_dict, print_json, print_table, say
from romana.cli.shown import read_topology_file
from romana.cli.status_topology import full_lines, moves_line, returning_lines
from romana.cli.topology_forecast import topology_forecast
from romana.v1.topology_pb2 import (
    ApplyRequest,
    ApplyResponse,
    CheckRequest,
    CheckResponse,
    PlanRequest,
    PlanResponse,
    Prefix,
    ShowRequest,
    ShowResponse,
)
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["app", "read_document", "show_topology"]

app = typer.Typer(help="The topology document: check it, apply it, show what follows from it.", no_args_is_help=True)

app.command(name="forecast")(topology_forecast)

FileArgument = Annotated[
    str,
    typer.Argument(metavar="FILE", help="Topology document, JSON or YAML, or what `show -o json` printed; - for standard input."),
]


class _Shape(StrEnum):
    TREE = "tree"
    JSON = "json"


@app.command()
def apply(file: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """Put a document in force. Exit 4: it is wrong, or not to be reached from the present state; nothing was changed then."""
    answer = run(_apply(read_topology_file(file)))
    if output is Output.JSON:
        print_json({"changed": answer.changed, "generation": answer.generation, "revision": answer.revision})
    else:
        typer.echo(f"topology generation {answer.generation} {'applied' if answer.changed else 'was in force already'}")


@app.command()
def check(file: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """Say what apply would say, and change nothing. Exit 1: the document is wrong; 4: it cannot be applied now."""
    answer = run(_check(read_topology_file(file)))
    if output is Output.JSON:
        print_json(as_dict(answer))
    elif answer.ok:
        _print_prefixes(answer.prefixes)
        for block in answer.given_back:
            typer.echo(f"would be given back: {block}")
    for fault in answer.faults:
        say(f"{fault.path}: {fault.message}" if fault.path else fault.message)
    for refusal in answer.refusals:
        say(f"refused: {refusal}")
    if answer.faults:
        raise typer.Exit(Exit.FOUND)
    if not answer.ok:
        raise typer.Exit(Exit.REFUSED)


@app.command()
def plan(file: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """What apply would do, part by part, and what stands in its way; changes nothing.

    Exit 0: it is in force already. Exit 1: it would change something. Exit 2: the document is wrong. Exit 4: refused, not to be
    reached safely from the present state.
    """
    answer = run(_plan(read_topology_file(file)))
    if output is Output.JSON:
        print_json(as_dict(answer))
    else:
        print_plan(answer)
    for fault in answer.faults:
        say(f"{fault.path}: {fault.message}" if fault.path else fault.message)
    if answer.faults:
        raise typer.Exit(Exit.USAGE)
    for refusal in answer.refusals:
        say(f"refused: {refusal}")
    if answer.refusals:
        raise typer.Exit(Exit.REFUSED)
    raise typer.Exit(Exit.FOUND if answer.changed else Exit.FINE)


@app.command()
def show(
    output: Annotated[_Shape, typer.Option("--output", "-o", help="tree for people, json for programs.")] = _Shape.TREE,
) -> None:
    """The document in force and the prefixes that follow from it."""
    answer = run(show_topology())
    if output is _Shape.JSON:
        prefixes = [as_dict(prefix) for prefix in answer.prefixes]
        document = json.loads(answer.document) if answer.document else None
        told = {name: [as_dict(item) for item in getattr(answer, name)] for name in ("full", "returning", "pending")}
        found = {"document": document, "generation": answer.generation, "revision": answer.revision, "prefixes": prefixes}
        print_json({**found, **told})
    elif not answer.document:
        typer.echo("no topology is in force; put one in force with: romana topology apply FILE")
    else:
        typer.echo(f"generation {answer.generation}")
        _print_prefixes(answer.prefixes)
        for line in (*full_lines(answer.full), *returning_lines(answer.returning), *map(moves_line, answer.pending)):
            typer.echo(line)


async def show_topology() -> ShowResponse:
    """What ipamd says of the topology in force."""
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).Show(ShowRequest(), timeout=left), CALL_TIMEOUT_S)


async def _apply(document: bytes) -> ApplyResponse:
    request = ApplyRequest(document=document)
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).Apply(request, timeout=left), CALL_TIMEOUT_S)


async def _check(document: bytes) -> CheckResponse:
    request = CheckRequest(document=document)
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).Check(request, timeout=left), CALL_TIMEOUT_S)


async def _plan(document: bytes) -> PlanResponse:
    request = PlanRequest(document=document)
    async with ipamd() as client:
        return await client.call(lambda channel, left: TopologyStub(channel).Plan(request, timeout=left), CALL_TIMEOUT_S)


def print_plan(answer: PlanResponse) -> None:
    """A table for each kind of change; nothing for a kind that there is none of."""
    if not answer.changed:
        typer.echo(f"in force already, generation {answer.generation}: nothing would change")
        return
    if answer.prefixes:
        columns = ("network", "prefix", "", "group before", "group after")
        print_table(columns, ((p.network, p.cidr, p.fate, p.before, p.after) for p in answer.prefixes), "")
    if answer.moves:
        places = ("node", "network", "stands in", "would stand in")
        print_table(places, ((m.node, m.network, m.before or "-", m.after or "-") for m in answer.moves), "")
    for block in answer.given_back:
        typer.echo(f"given back: {block}; no address of it is held or cooling")
    if answer.in_the_way:
        blocks = ("block in the way", "node", "held", "cooling", "why", "addresses")
        rows = ((b.cidr, b.node, b.held, b.cooling, b.reason, ", ".join(b.addresses)) for b in answer.in_the_way)
        print_table(blocks, rows, "")


def _print_prefixes(prefixes: Iterable[Prefix]) -> None:
    def row(prefix: Prefix) -> tuple[object, ...]:
        labels = ",".join(f"{key}={value}" for key, value in sorted(prefix.assignment.items()))
        group = "(pad, stays empty)" if prefix.pad else prefix.name
        blocks = "" if prefix.pad else f"{prefix.blocks_owned} of {prefix.blocks_total} /{prefix.block_mask}"
        return ("  " * prefix.path.count("/") + prefix.path, prefix.cidr, group, labels, blocks, " ".join(prefix.nodes))

    columns = ("path", "prefix", "group", "for labels", "blocks owned", "nodes")
    print_table(columns, (row(prefix) for prefix in prefixes), "no prefixes")
