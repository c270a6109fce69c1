"""Gives back the blocks that their nodes do not need (`ipam.surplus`), once that has been so for a while.

    sweep ──→ surplus of each owner ──→ since when? ──SETTLE_S──→ one transaction a block

An allocation at the same moment wins, whichever ipamd makes it. It compares the `mod_revision` of its block, and writes a key
`addresses/<network>/<ip>`. If it comes first, that key is not as it was seen, or not absent any more, and nothing is given back;
if it comes after, the block's key is gone, and it takes an address of another block. Of a block of more than `COMPARED_MAX`
addresses it is compared instead that no address of the whole network was written since all were known. Of two ipamd at once the
second finds the block gone; and as the owner's other empty blocks are compared too, they never give back two where one was too
many.

A node that was drained to move to another group (`ipam.moving`) gives all its blocks back, as soon as they are empty.

The wait is for pods that come back, and for blocks that were claimed for one very address that is not written yet.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ipam import transactions
from ipam.commit import Txn
from ipam.occupancy import NOBODY, Owner
from ipam.records import AddressRecord, BlockRecord, NodeRecord, address_key, block_key
from ipam.state import State
from ipam.surplus import is_empty, surplus
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous
from romana.store.api import Store

__all__ = ["COMPARED_MAX", "SETTLE_S", "Spares"]

log = logging.getLogger(__name__)

SETTLE_S = 60.0  # as long as Calico leaves an empty block with its node
COMPARED_MAX = 96  # addresses of a block, each compared; of 128 compares
KEPT_MAX = 16  # other blocks of the owner, compared too
SWEEP_MAX = 256  # blocks given back in one sweep: claims wait meanwhile
AT_ONCE = 16  # of these, under way at a time
OWNERS_AT_ONCE = 32  # looked at before other tasks get their turn


@dataclass(frozen=True, slots=True)
class _Spare:
    """A block to give back."""

    owner: Owner
    kept: tuple[str, ...]
    """The keys of the empty blocks that its owner keeps."""
    settled: bool = False
    """Whether it goes with no further wait."""


class Spares:
    """`clock` is monotonic, in seconds."""

    def __init__(self, store: Store, state: State, clock: Callable[[], float]) -> None:
        self._store = store
        self._state = state
        self._clock = clock
        self._since_s: dict[str, float] = {}
        """By the key of a block that is too many, since when it has been so."""

    async def give_back(self) -> int:
        """Give back what has been too many for long enough; the answer is how many. Right to repeat."""
        now_s = self._clock()
        found = await self._found(now_s)
        self._since_s = {key: self._since_s.get(key, now_s) for key in found}
        ready = [key for key, spare in found.items() if spare.settled or self._since_s[key] + SETTLE_S <= now_s]
        given = 0
        for start in range(0, min(len(ready), SWEEP_MAX), AT_ONCE):
            some = ready[start : min(start + AT_ONCE, SWEEP_MAX)]
            given += sum(await asyncio.gather(*(self._give_back(key, found[key].owner) for key in some)))
        return given

    async def _give_back(self, key: str, owner: Owner) -> bool:
        """Decide once more, as other writes were waited for meanwhile, and do it."""
        row = self._state.blocks.rows.get(key)
        if row is None:
            return False
        if large := row.value.cidr.num_addresses > COMPARED_MAX:
            await self._state.reload(self._store, keys.ADDRESSES)
            if not await self._forget(self._used(row.value)[COMPARED_MAX:]):
                return False
        spare, used = self._of(owner, self._clock()).get(key), self._used(row.value)
        if spare is None or self._state.blocks.rows.get(key) is not row or not self._rest(used):
            return False
        kept = [self._state.blocks.rows[other] for other in spare.kept[:KEPT_MAX]]
        absent = () if large else self._never_used(row.value)
        seen = self._state.addresses.revision if large else None
        if not await self._write(transactions.give_back_spare(row, kept, used, absent, seen)):
            return False
        fields = {"block": str(row.value.cidr), "network": row.value.network, "node": row.value.node}
        log.info("spare block is given back", extra=fields)
        return True

    async def _forget(self, cooled: Sequence[Row[AddressRecord]]) -> bool:
        """Forget what has cooled and would not fit into the transaction: harmless whatever comes of the block."""
        if not self._rest(cooled):
            return False
        starts = range(0, len(cooled), COMPARED_MAX)
        return all([await self._write(transactions.forget(cooled[start : start + COMPARED_MAX])) for start in starts])

    def _rest(self, used: Sequence[Row[AddressRecord]]) -> bool:
        """Whether none is held, one that cannot be read included, and none cools."""
        return not any(row.value.held or self._state.occupancy.is_cooling(row.key) for row in used)

    async def _write(self, txn: Txn) -> bool:
        try:
            result = await self._store.txn(txn.compares, txn.writes, txn.reads)
        except Ambiguous:
            await self._state.reload(self._store, keys.BLOCKS)
            return False  # whether it came is known now
        if result.succeeded:
            self._state.committed(txn, result.revision)
        else:
            self._state.learn(txn.reads, result)
        return result.succeeded

    def _used(self, block: BlockRecord) -> list[Row[AddressRecord]]:
        """The addresses in it that were ever used: of a small block by its addresses, of a large one by all that are known."""
        if block.cidr.num_addresses <= COMPARED_MAX:
            found = (self._state.addresses.rows.get(address_key(block.network, ip)) for ip in block.cidr)
            return [row for row in found if row is not None]
        rows = self._state.addresses.rows.values()
        return [row for row in rows if row.value.network == block.network and row.value.ip in block.cidr]

    def _never_used(self, block: BlockRecord) -> list[str]:
        """The keys of the others, of a small block."""
        return [key for ip in block.cidr if (key := address_key(block.network, ip)) not in self._state.addresses.rows]

    async def _found(self, now_s: float) -> dict[str, _Spare]:
        """What is too many now, by the keys of the blocks. O(blocks + nodes) where nothing is.

        Requests are let in between: after a mass of pods has gone, it is all nodes at once.
        """
        found: dict[str, _Spare] = {}
        leaving = {row.value.uid for row in self._state.nodes.rows.values() if row.value.draining and self._leaves(row)}
        owners = self._state.occupancy.with_several_empty()
        more = [owner for owner in self._state.occupancy.owners() if owner[0] in leaving] if leaving else []
        for number, owner in enumerate([*owners, *more], start=1):
            found |= self._of(owner, now_s)
            if number % OWNERS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    def _leaves(self, row: Row[NodeRecord]) -> frozenset[str]:
        """The networks in which the node leaves its group, as soon as it has no block there."""
        topology = self._state.in_force()
        if topology is None or not row.value.draining:
            return frozenset()
        return frozenset(place.network for place in row.value.placements if topology.value.would_move(row.value, place))

    def _of(self, owner: Owner, now_s: float) -> dict[str, _Spare]:
        uid, network, share = owner
        row = self._state.node_of(uid)
        placement = row.value.placement(network) if row else None
        holdings = self._state.holdings(row, placement, share) if row and placement else None
        if row is None or holdings is None:
            return {}
        empty = [block.cidr for block in holdings.blocks if is_empty(block, now_s)]
        if network in self._leaves(row):
            return {block_key(network, cidr): _Spare(owner, (), settled=True) for cidr in empty}
        spare = [block.cidr for block in surplus(holdings, now_s, ahead=share == NOBODY)]
        kept = tuple(block_key(network, cidr) for cidr in empty if cidr not in spare)
        return {block_key(network, cidr): _Spare(owner, kept) for cidr in spare}
