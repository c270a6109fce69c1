"""How commands print: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

__all__ = ["Output", "OutputOption", "as_dict", "enum_word", "print_json", "print_table", "say"]


class Output(StrEnum):
    """Formats of every read command."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for programs.")]


_Described = Any  # google.protobuf.descriptor.Descriptor or its twin in C, which share no type


def as_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as a JSON value: names as in the .proto, empty fields present, so that scripts can rely on them.

    Other than in protobuf's own JSON, 64-bit numbers are numbers, and an enum's value is in lower case without the enum's name.
    """
    value = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _fields(message.DESCRIPTOR, value)


def _fields(message: _Described, value: dict[str, Any]) -> dict[str, Any]:
    return {name: _field(message.fields_by_name[name], item) for name, item in value.items()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {key: _single(entry, item) for key, item in value.items()}
    return [_single(field, item) for item in value] if isinstance(value, list) else _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}:
        return int(value)
    if field.enum_type is not None and isinstance(value, str):  # a number is a value that this program does not know
        return enum_word(field.enum_type, value)
    # Timestamps are texts already.
    return _fields(field.message_type, value) if field.message_type is not None and isinstance(value, dict) else value


def enum_word(enum: EnumDescriptor, name: str) -> str:
    """`held` of `AddressState` and `ADDRESS_STATE_HELD` (Buf style guide: values carry the enum's name)."""
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
    return name.removeprefix(prefix).lower()


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
