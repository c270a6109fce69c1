"""`romana block`: which node owns which block, read from etcd."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ipam.blocks import Ranges, ranges_of, reserved_in
from ipam.codec import read_reservation, read_topology
from ipam.networks import reserved_by_document
from romana import keys
from romana.cli.context import run, store
from romana.cli.output import Output, OutputOption, print_json, print_table
from romana.keys import Network
from romana.store.api import KeyValue, Store
from romana.v1.store_pb2 import ADDRESS_STATE_HELD, Address, Block

__all__ = ["app", "tally"]

app = typer.Typer(help="Blocks of addresses and their owners.", no_args_is_help=True)

Where = tuple[str, str]
"""Network and prefix of a block."""


@app.command(name="list")
def list_blocks(
    network: Annotated[str | None, typer.Option(help="Only this network.")] = None,
    node: Annotated[str | None, typer.Option(help="Only blocks of this node.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """All blocks in somebody's hands and how many of their addresses are held, cooling, reserved or free."""
    rows = [row for row in run(_blocks()) if network in {None, row["network"]} and node in {None, row["node"]}]
    if output is Output.JSON:
        print_json({"blocks": rows})
    else:
        columns = ("network", "cidr", "node", "held", "cooling", "reserved", "free")
        print_table(columns, ([row[column] for column in columns] for row in rows), "no blocks")


async def _blocks() -> list[dict[str, Any]]:
    async with store() as opened:
        reserved = await _reserved(opened)
        blocks = (await opened.list(keys.BLOCKS)).items
        addresses = (await opened.list(keys.ADDRESSES)).items
    return tally(blocks, addresses, time.time(), reserved)


async def _reserved(opened: Store) -> dict[str, Ranges]:
    """What is reserved, by network: by the topology document, and by operators."""
    found: dict[str, list[Network]] = {}
    topology = await opened.get(keys.TOPOLOGY)
    for network in read_topology(topology).document.networks if topology else ():
        found.setdefault(network.name, []).extend(reserved_by_document(network))
    for record in map(read_reservation, (await opened.list(keys.RESERVATIONS)).items):
        found.setdefault(record.network, []).append(record.cidr)
    return {network: ranges_of(cidrs) for network, cidrs in found.items()}


def tally(
    blocks: Sequence[KeyValue], addresses: Sequence[KeyValue], now_s: float, reserved: Mapping[str, Ranges]
) -> list[dict[str, Any]]:
    """A row for each block; as for ipamd, an address is cooling until its cool-down is over, then free, if not reserved."""
    held: Counter[Where] = Counter()
    cooling: Counter[Where] = Counter()
    reserved_in_use: Counter[Where] = Counter()
    for item in addresses:
        address = Address.FromString(item.value)
        network, ip = keys.parse_address(item.key)
        where = (network, address.block)
        if address.state == ADDRESS_STATE_HELD:
            held[where] += 1
        elif now_s < address.released.ToMilliseconds() / 1000 + address.cooldown_s:
            cooling[where] += 1
        else:
            continue
        if _is_in(int(ip), reserved.get(network, ())):
            reserved_in_use[where] += 1
    rows = []
    parsed = ((*keys.parse_block(item.key), item) for item in blocks)
    for network, cidr, item in sorted(parsed, key=lambda one: (one[0], int(one[1].network_address))):
        where = (network, str(cidr))
        inside = sum(end - start for start, end in reserved_in(cidr, reserved.get(network, ())))
        rows.append(_row(where, cidr, Block.FromString(item.value), held[where], cooling[where], inside - reserved_in_use[where]))
    return rows


def _is_in(number: int, ranges: Ranges) -> bool:
    index = bisect_right(ranges, number, key=lambda bounds: bounds[0]) - 1
    return index >= 0 and number < ranges[index][1]


def _row(where: Where, cidr: Network, block: Block, held: int, cooling: int, reserved: int) -> dict[str, Any]:
    free = cidr.num_addresses - held - cooling - reserved
    owner = {"node": block.node, "node_uid": block.node_uid}
    counts = {"held": held, "cooling": cooling, "reserved": reserved, "free": free}
    return {"network": where[0], "cidr": where[1], **owner, **counts}
