"""Says all there is to know of one address."""

from dataclasses import dataclass
from ipaddress import ip_network

from ipam.inventory import Inventory, Reserved
from ipam.reads import Reader
from ipam.records import AddressRecord, BlockRecord
from ipam.state import State
from ipam.topology.carving import Prefix
from ipam.topology.document import NetworkSpec
from romana import keys
from romana.keys import Address

__all__ = ["Found", "look_up"]


@dataclass(frozen=True, slots=True)
class Found:
    """What of it there is; each is None further than it goes. In a network, in a block, held or released."""

    network: NetworkSpec | None = None
    prefix: Prefix | None = None
    block: BlockRecord | None = None
    record: AddressRecord | None = None
    reserved: Reserved | None = None
    cooling_until_ms: int | None = None
    """By the wall clock; None unless it cools."""


async def look_up(reader: Reader, state: State, inventory: Inventory, ip: Address) -> Found:
    """All there is to know of the address; its own record is read from the store, the rest is as last heard."""
    state.require_whole()
    topology = state.in_force()
    for network in topology.value.document.networks if topology else ():
        if ip in network.cidr:
            key = keys.address(network.name, ip)
            await reader.read(key)
            row = state.addresses.rows.get(key)
            record = row.value if row else None
            prefixes = topology.value.prefixes if topology else ()
            prefix = next((prefix for prefix in prefixes if prefix.network == network.name and ip in prefix.cidr), None)
            cools = record is not None and not record.held
            return Found(
                network,
                prefix,
                _block(state, network.name, prefix, ip),
                record,
                inventory.reserving(network.name, ip),
                inventory.cooling_until_ms(key) if cools else None,
            )
    return Found()


def _block(state: State, network: str, prefix: Prefix | None, ip: Address) -> BlockRecord | None:
    """The block that holds the address: blocks of a group are all of its size."""
    if prefix is None:
        return None
    row = state.blocks.rows.get(keys.block(network, ip_network((ip, prefix.block_mask), strict=False)))
    return row.value if row else None
