"""`romana store`: what etcd holds, as JSON; reading only."""

import json
from typing import Annotated, Any

import typer
from google.protobuf.message import DecodeError, Message

from romana import keys
from romana.cli.context import Exit, run, store
from romana.cli.output import Output, OutputOption, as_dict, print_json, say
from romana.errors import FatalError, InvalidInput
from romana.store.api import KeyValue
from romana.v1 import store_pb2

__all__ = ["app", "decoded", "message_of"]

app = typer.Typer(help="What etcd holds, decoded; reading only.", no_args_is_help=True)

_MESSAGES: dict[str, type[Message]] = {
    keys.SCHEMA: store_pb2.Schema,
    keys.HISTORY: store_pb2.History,
    keys.RESTORED_NODES: store_pb2.Reasserted,
    keys.RESTORED: store_pb2.Restored,
    keys.TOPOLOGY: store_pb2.TopologyRecord,
    keys.NODES: store_pb2.Node,
    keys.BLOCKS: store_pb2.Block,
    keys.ADDRESSES: store_pb2.Address,
    keys.ATTACHMENTS: store_pb2.Attachment,
    keys.ENDPOINTS: store_pb2.Endpoint,
    keys.PODS: store_pb2.Pod,
    keys.NAMESPACES: store_pb2.Namespace,
    keys.POLICIES: store_pb2.Policy,
    keys.RECEIPTS: store_pb2.Receipt,
    keys.JOURNAL: store_pb2.JournalRecord,
}


@app.command()
def get(
    key: Annotated[str, typer.Argument(metavar="KEY", help="nodes/node-1, blocks/pods/10.40.0.0_28, ...")],
    _output: OutputOption = Output.TABLE,
) -> None:
    """One key as JSON, whatever -o says. Exit 1: it does not exist."""
    found = run(_get(key))
    if found is None:
        say(f"{key} does not exist; romana store list PREFIX shows what does")
        raise typer.Exit(Exit.FOUND)
    print_json(found)


@app.command(name="list")
def list_keys(prefix: Annotated[str, typer.Argument(metavar="[PREFIX]")] = "", output: OutputOption = Output.TABLE) -> None:
    """The keys below a prefix, one a line, or `{"keys": [...]}`."""
    found = run(_list(prefix))
    if output is Output.JSON:
        print_json({"keys": found})
        return
    for key in found:
        typer.echo(key)


async def _get(key: str) -> dict[str, Any] | None:
    async with store() as opened:
        item = await opened.get(key)
    return None if item is None else decoded(item)


def decoded(item: KeyValue) -> dict[str, Any]:
    """A key and its value as JSON; a document inside (bytes in the message) is JSON too."""
    message = message_of(item.key, item.value)
    value = as_dict(message)
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_BYTES:
            value[field.name] = _document(getattr(message, field.name), value[field.name])
    return {"key": item.key, "create_revision": item.create_revision, "mod_revision": item.mod_revision, "value": value}


def message_of(key: str, value: bytes) -> Message:
    """What a key of this layout holds; raises InvalidInput for another key, FatalError for another value."""
    kind = next((kind for prefix, kind in _MESSAGES.items() if key.startswith(prefix)), None)
    if kind is None:
        raise InvalidInput(f"{key} is no key of this layout; known are {', '.join(_MESSAGES)}")
    try:
        return kind.FromString(value)
    except DecodeError as err:
        raise FatalError(f"{key} holds no {kind.DESCRIPTOR.name}: {err}; who wrote that?") from err


def _document(raw: bytes, otherwise: str) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return otherwise


async def _list(prefix: str) -> list[str]:
    async with store() as opened:
        return [item.key for item in (await opened.list(prefix)).items]
