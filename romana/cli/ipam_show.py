"""`romana ipam show`: how full networks, groups and nodes are.

For people one screen, whatever the size of the cluster: of groups and nodes the fullest come first and the rest is counted.
For programs everything that the filters leave.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from romana.cli.context import CALL_TIMEOUT_S, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, print_json, print_table
from romana.v1.ipam_pb2 import UsageRequest, UsageResponse
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["fill_bar", "fullness", "show_usage"]

Row = dict[str, Any]

SHOWN_MAX = 10  # rows of groups, and of nodes: with the networks one screen of about 40 lines
BAR_CELLS = 10
EIGHTHS = " ▏▎▍▌▋▊▉"  # Unicode, "Block Elements", U+2588 to U+258F

NUMBERS = ("total", "allocated", "cooling", "reserved", "free", "blocks_used", "blocks_left")
HEADINGS = ("total", "allocated", "cooling", "reserved", "free", "blocks", "left")


def show_usage(
    network: Annotated[str | None, typer.Option(help="Only this network.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group, by name or path, and its nodes.")] = None,
    node: Annotated[str | None, typer.Option(help="Only this node.")] = None,
    all_rows: Annotated[bool, typer.Option("--all", help=f"All groups and nodes, not only the {SHOWN_MAX} fullest.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """How full networks, groups and nodes are: addresses, and blocks that can still be claimed; all of one moment."""
    answer = run(_usage())
    found = select(answer, network, group, node)
    if output is Output.JSON:
        print_json({**found, "revision": answer.revision})
        return
    shown_max = len(answer.groups) + len(answer.nodes) if all_rows else SHOWN_MAX
    if not node:
        if not group:
            _print(("network", "prefix"), found["networks"], lambda row: (row["network"], row["cidr"]), len(answer.networks))
        _print(("group", "name", "prefix", "nodes"), found["groups"], _group_cells, shown_max)
    _print(("node", "network", "group"), found["nodes"], _node_cells, shown_max)
    if not any(found.values()):
        typer.echo("nothing of that name" if network or group or node else "no topology is in force: romana topology apply FILE")


async def _usage() -> UsageResponse:
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).Usage(UsageRequest(), timeout=left), CALL_TIMEOUT_S)


def select(answer: UsageResponse, network: str | None, group: str | None, node: str | None) -> dict[str, list[Row]]:
    """The rows that the filters leave, numbers beside names. A network's and a group's numbers are never only a node's part."""
    groups = [row for row in map(_flat, answer.groups) if network in {None, row["network"]}]
    groups = [row for row in groups if group in {None, row["name"], row["path"]}]
    nodes = [row for row in map(_flat, answer.nodes) if network in {None, row["network"]} and node in {None, row["node"]}]
    if group is not None:
        paths = {(row["network"], row["path"]) for row in groups}
        nodes = [row for row in nodes if (row["network"], row["group_path"]) in paths]
    if node is not None:
        stands = {(row["network"], row["group_path"]) for row in nodes}
        groups = [row for row in groups if (row["network"], row["path"]) in stands]
    narrowed = {row["network"] for row in (nodes if node is not None else groups)}
    everything = group is None and node is None
    networks = [row for row in map(_flat, answer.networks) if network in {None, row["network"]}]
    return {
        "networks": [row for row in networks if everything or row["network"] in narrowed],
        "groups": groups,
        "nodes": nodes,
    }


def fullness(row: Row) -> float:
    """How much of what can be given out is in use, 0 to 1: what cools counts, what is reserved is neither."""
    usable = row["total"] - row["reserved"]
    return min((row["allocated"] + row["cooling"]) / usable, 1.0) if usable > 0 else 0.0


def fill_bar(part: float, cells: int = BAR_CELLS) -> str:
    """A bar and its percentage; empty only for nothing at all, and full only where nothing is left."""
    eighths = 0 if part <= 0 else cells * 8 if part >= 1 else min(max(round(part * cells * 8), 1), cells * 8 - 1)
    whole, rest = divmod(eighths, 8)
    bar = "█" * whole + (EIGHTHS[rest] if rest else "")
    percent = 0 if part <= 0 else 100 if part >= 1 else min(max(round(part * 100), 1), 99)
    return f"{bar:░<{cells}} {percent:3d} %"


def _flat(message: Any) -> Row:
    row = as_dict(message)
    return {**{key: value for key, value in row.items() if key != "counts"}, **row["counts"]}


def _print(columns: Sequence[str], rows: list[Row], cells: Callable[[Row], tuple[object, ...]], shown_max: int) -> None:
    if not rows:
        return
    shown = rows if len(rows) <= shown_max else sorted(rows, key=fullness, reverse=True)[:shown_max]
    print_table((*columns, "full", *HEADINGS), ((*cells(row), fill_bar(fullness(row)), *_numbers(row)) for row in shown), "")
    if len(shown) < len(rows):
        fullest = max(fullness(row) for row in rows if row not in shown) if len(rows) > len(shown) else 0.0
        typer.echo(f"and {len(rows) - len(shown):,} more, none of them fuller than {fullest:.0%}: --all shows them\n")


def _numbers(row: Row) -> tuple[str, ...]:
    return tuple(_number(row[key]) for key in NUMBERS)


def _number(value: int) -> str:
    """Digits as long as they can be read; networks of IPv6 have more."""
    return f"{value:,}" if value < 10**9 else f"{value:.1e}"


def _group_cells(row: Row) -> tuple[object, ...]:
    return row["path"], row["name"], row["cidr"], row["nodes"]


def _node_cells(row: Row) -> tuple[object, ...]:
    name = row["node"] or "(nobody's any more)"
    return f"{name} (drains)" if row["draining"] else name, row["network"], row["group_path"] or "none"
