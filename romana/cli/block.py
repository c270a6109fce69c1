"""`romana block`: which node owns which block, read from etcd."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from romana import keys
from romana.cli.context import run, store
from romana.cli.output import Output, OutputOption, print_json, print_table
from romana.store.api import KeyValue
from romana.v1.store_pb2 import ADDRESS_STATE_HELD, Address, Block

__all__ = ["app", "tally"]

app = typer.Typer(help="Blocks of addresses and their owners.", no_args_is_help=True)


@app.command(name="list")
def list_blocks(
    network: Annotated[str | None, typer.Option(help="Only this network.")] = None,
    node: Annotated[str | None, typer.Option(help="Only blocks of this node.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """All blocks in somebody's hands and how many of their addresses are held, cooling or free."""
    rows = [row for row in run(_blocks()) if network in {None, row["network"]} and node in {None, row["node"]}]
    if output is Output.JSON:
        print_json({"blocks": rows})
    else:
        columns = ("network", "cidr", "node", "held", "cooling", "free")
        print_table(columns, ([row[column] for column in columns] for row in rows), "no blocks")


async def _blocks() -> list[dict[str, Any]]:
    async with store() as opened:
        blocks = (await opened.list(keys.BLOCKS)).items
        addresses = (await opened.list(keys.ADDRESSES)).items
    return tally(blocks, addresses, time.time())


def tally(blocks: Sequence[KeyValue], addresses: Sequence[KeyValue], now_s: float) -> list[dict[str, Any]]:
    """A row for each block; as for ipamd, an address is cooling until its cool-down is over, then free."""
    held: dict[tuple[str, str], int] = {}
    cooling: dict[tuple[str, str], int] = {}
    for item in addresses:
        address = Address.FromString(item.value)
        where = (keys.parse_address(item.key)[0], address.block)
        if address.state == ADDRESS_STATE_HELD:
            held[where] = held.get(where, 0) + 1
        elif now_s < address.released.ToMilliseconds() / 1000 + address.cooldown_s:
            cooling[where] = cooling.get(where, 0) + 1
    return [_row(item.key, Block.FromString(item.value), held, cooling) for item in blocks]


def _row(key: str, block: Block, held: dict[tuple[str, str], int], cooling: dict[tuple[str, str], int]) -> dict[str, Any]:
    network, cidr = keys.parse_block(key)
    where = (network, str(cidr))
    used, resting = held.get(where, 0), cooling.get(where, 0)
    free = cidr.num_addresses - used - resting
    owner = {"node": block.node, "node_uid": block.node_uid}
    return {"network": network, "cidr": str(cidr), **owner, "held": used, "cooling": resting, "free": free}
