"""Places nodes anew that were drained to move: those whose labels came to ask for another group (`ipam.topology.pending`).

    drained ──→ addresses released, cooled ──→ blocks given back (`ipam.spares`) ──→ here: node written with its new group

The transaction compares node and topology, and that no node and no block was written since all were known: so the node has no
block in the group that it leaves, whoever claims or re-asserts at the same time, and the choice of its new group is as good as a
new node's.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ipam import transactions
from ipam.records import NodeRecord, TopologyRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.pending import Pending, moved, pending_moves
from romana import keys
from romana.errors import Ambiguous
from romana.store.api import Store

__all__ = ["Moving", "node_moves"]

log = logging.getLogger(__name__)


class Moving:
    """One at a time in this process: `lock` is also held while a node is added or a topology applied."""

    def __init__(self, store: Store, state: State, lock: asyncio.Lock) -> None:
        self._store = store
        self._state = state
        self._lock = lock

    async def move_drained(self) -> int:
        """Place the drained nodes anew that have no block left where they stand; the answer is how many. Right to repeat."""
        names = [row.value.name for row in self._state.nodes.rows.values() if row.value.draining and self._ready(row)]
        return sum([await self._move(name) for name in names])

    async def _move(self, name: str) -> bool:
        async with self._lock:
            await self._state.reload(self._store, keys.BLOCKS)
            row, topology = self._state.node(name), self._state.in_force()
            ready = self._ready(row) if row is not None and row.value.draining else ()
            if row is None or topology is None or not ready:
                return False
            node = replace(row.value, placements=moved(row.value.placements, ready))
            seen = (self._state.nodes.revision, self._state.blocks.revision)
            txn = transactions.move_node(node, row, topology, seen)
            try:
                result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            except Ambiguous:
                await self._state.reload(self._store, keys.NODES)
                return False  # whether it came is known now
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                await self._state.reload(self._store, keys.NODES)
                return False
            self._state.committed(txn, result.revision)
        log.info("node moves, as its labels ask", extra={"node": name, "moves": [str(move) for move in ready]})
        return True

    def _ready(self, row: Row[NodeRecord]) -> Sequence[Pending]:
        """The moves of which nothing stands in the way."""
        topology = self._state.in_force()
        if topology is None or not any(place.kept for place in row.value.placements):
            return ()
        owned = {network for network, _ in self._state.occupancy.owned(row.value.uid)}
        return [move for move in node_moves(self._state, topology.value, row.value) if move.before.network not in owned]


def node_moves(state: State, topology: TopologyRecord, node: NodeRecord) -> list[Pending]:
    """The moves of a node that wait for it to be drained. O(nodes), where it has one."""
    if not any(topology.would_move(node, place) for place in node.placements):
        return []
    others = (row.value for row in state.nodes.rows.values() if row.value.name != node.name)
    counts = Counter((place.network, place.path) for other in others for place in other.placements)
    return list(pending_moves(topology.candidates, node.name, dict(node.labels), node.placements, counts))
