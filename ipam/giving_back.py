"""Gives back the blocks that stand in the way of a new topology, in the transaction that puts it in force.

Only blocks without a live address: none held, none still cooling. That this is true when the transaction happens, any number of
ipamd allocating meanwhile, follows from what is compared:

* An allocation compares the `mod_revision` of its block and writes a key `addresses/<network>/...`. If it comes first, the
  compare "no address of the network was written since all of them were known" fails here, and everything is looked at anew. If
  it comes after, its block's key is gone (or is there anew, of a later revision): it conflicts, and is decided anew.
* A claim compares the topology, and that the block's key is absent: one that was decided on the old topology comes before, and is
  seen ("no block was written since"), or conflicts. So no block of the old layout appears after this.
* A release writes its addresses: as an allocation. An address cools until this process's own clock says that it has cooled, and
  that started no earlier than the release.

"Written since" does not see keys that were removed. Blocks are removed here, with the topology, which is compared too, and by
`ipam.node_life`, where nobody owns them any more; addresses are removed when they have cooled down, and that takes nothing from
anybody.

Whether an address lies in a block is told by the keys: one whose value cannot be read counts as held where it is.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ipam.records import AddressRecord, BlockRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.change import Change, OwnedBlock
from romana import keys
from romana.store.api import Delete

__all__ = ["GIVEN_BACK_MAX", "GivingBack", "giving_back", "owned_blocks"]

GIVEN_BACK_MAX = 100  # keys deleted in the transaction; of 128 operations

Inside = Mapping[str, list[Row[AddressRecord]]]
"""By a block's key: the addresses that lie in it."""


@dataclass(frozen=True, slots=True)
class GivingBack:
    """Blocks to give back, with the records of the addresses in them that have cooled down."""

    blocks: tuple[Row[BlockRecord], ...] = ()
    cooled: tuple[Row[AddressRecord], ...] = ()
    whole: tuple[str, ...] = ()
    """Networks of which nothing stays; the others' keys are in `blocks` and `cooled`."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks whose addresses it is about."""
        return tuple(sorted({*self.whole, *(row.value.network for row in self.blocks)}))

    @property
    def fits(self) -> bool:
        """Whether one transaction can do it, once the addresses that have cooled are forgotten."""
        return len(self.blocks) + 2 * len(self.whole) <= GIVEN_BACK_MAX

    def deletes(self) -> list[Delete]:
        """The operations."""
        single = [*(row.key for row in self.cooled), *(row.key for row in self.blocks)]
        below = [f"{prefix}{network}/" for network in self.whole for prefix in (keys.ADDRESSES, keys.BLOCKS)]
        return [*map(Delete, single), *(Delete(key, prefix=True) for key in below)]

    def refusal(self) -> str:
        """What to tell when it does not fit."""
        found = f"{len(self.blocks)} blocks and {len(self.whole)} whole networks without live addresses stand in the way"
        cure = "change fewer groups or networks at a time; a network of which no address is live goes whole, however large"
        return f"{found}, too many to give back in one transaction; {cure}"


def owned_blocks(state: State) -> list[OwnedBlock]:
    """Every block with how many of its addresses are live. O(addresses * log blocks)."""
    inside = _addresses_by_block(state)
    return [_owned(state, row, inside.get(row.key, [])) for row in state.blocks.rows.values()]


def giving_back(state: State, change: Change) -> GivingBack:
    """How to give back what the change wants given back, in the state that it was planned in."""
    if not change.given_back:
        return GivingBack()
    inside = _addresses_by_block(state)
    rows = {(row.value.network, row.value.cidr): row for row in state.blocks.rows.values()}
    blocks = [rows[block.network, block.cidr] for block in change.given_back]
    cooled = {row.key: row for block in blocks for row in inside.get(block.key, [])}
    gone = {row.key for row in blocks} | cooled.keys()
    kept = {row.value.network for row in state.blocks.rows.values() if row.key not in gone}
    kept |= {row.value.network for row in state.addresses.rows.values() if row.key not in gone}
    return GivingBack(
        tuple(row for row in blocks if row.value.network in kept),
        tuple(row for row in cooled.values() if row.value.network in kept),
        tuple(sorted({row.value.network for row in blocks} - kept)),
    )


def _owned(state: State, row: Row[BlockRecord], addresses: list[Row[AddressRecord]]) -> OwnedBlock:
    block = row.value
    held = sum(address.value.held for address in addresses)
    cooling = sum(state.occupancy.is_cooling(address.key) for address in addresses if not address.value.held)
    owner = "tenant" if block.share.tenant else "node"
    return OwnedBlock(block.network, block.cidr, block.node, block.node_uid, held, cooling, owner)


def _addresses_by_block(state: State) -> Inside:
    starts: dict[tuple[str, int], list[tuple[int, Row[BlockRecord]]]] = {}
    for row in state.blocks.rows.values():
        cidr = row.value.cidr
        starts.setdefault((row.value.network, cidr.version), []).append((int(cidr.network_address), row))
    for blocks in starts.values():
        blocks.sort(key=lambda entry: entry[0])
    inside: dict[str, list[Row[AddressRecord]]] = {}
    for block, address in _pairs(state, starts):
        inside.setdefault(block, []).append(address)
    return inside


def _pairs(
    state: State, starts: Mapping[tuple[str, int], list[tuple[int, Row[BlockRecord]]]]
) -> Iterator[tuple[str, Row[AddressRecord]]]:
    for row in state.addresses.rows.values():
        blocks = starts.get((row.value.network, row.value.ip.version), [])
        index = bisect_right(blocks, int(row.value.ip), key=lambda entry: entry[0]) - 1
        if index >= 0 and row.value.ip in blocks[index][1].value.cidr:
            yield blocks[index][1].key, row
