"""`romana store`: what etcd holds, as JSON; reading only."""

from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from romana import keys
from romana.cli.context import Exit, run, store
from romana.cli.output import as_dict, print_json, say
from romana.v1 import store_pb2

__all__ = ["app"]

app = typer.Typer(help="What etcd holds, decoded; reading only.", no_args_is_help=True)

_MESSAGES: dict[str, type[Message]] = {
    keys.SCHEMA: store_pb2.Schema,
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
def get(key: Annotated[str, typer.Argument(metavar="KEY", help="nodes/node-1, blocks/pods/10.40.0.0_28, ...")]) -> None:
    """One key as JSON. Exit 1: it does not exist."""
    found = run(_get(key))
    if found is None:
        say(f"{key} does not exist; romana store list PREFIX shows what does")
        raise typer.Exit(Exit.FOUND)
    print_json(found)


@app.command(name="list")
def list_keys(prefix: Annotated[str, typer.Argument(metavar="[PREFIX]")] = "") -> None:
    """The keys below a prefix."""
    for key in run(_list(prefix)):
        typer.echo(key)


async def _get(key: str) -> dict[str, Any] | None:
    async with store() as opened:
        item = await opened.get(key)
    if item is None:
        return None
    message = next(message for prefix, message in _MESSAGES.items() if key.startswith(prefix))
    revisions = {"create_revision": item.create_revision, "mod_revision": item.mod_revision}
    return {"key": key, **revisions, "value": as_dict(message.FromString(item.value))}


async def _list(prefix: str) -> list[str]:
    async with store() as opened:
        return [item.key for item in (await opened.list(prefix)).items]
