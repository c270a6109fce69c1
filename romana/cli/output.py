"""How commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

__all__ = ["Output", "OutputOption", "as_dict", "print_json", "print_table", "say"]


class Output(StrEnum):
    """Formats of every read command."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for programs.")]


def as_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as a JSON value: names as in the .proto, empty fields present, so that scripts can rely on them."""
    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Columns and rows, or what it means that there are none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=200, soft_wrap=True)
    console.print(table if table.row_count else empty, highlight=False, markup=False)


def say(text: str) -> None:
    """A line for people beside the answer: on stderr."""
    typer.echo(text, err=True)
