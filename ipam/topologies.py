"""Puts topology documents in force, and keeps every node placed in the one that is.

A change is one transaction: the document and the nodes that stand elsewhere under it. Past `PLACED_MAX` nodes, the rest follow in
transactions of their own. Until its turn comes such a node is given no block (`TopologyRecord.takes`) and keeps those it has;
should this ipamd die meanwhile, any other places the rest (`ipam.upkeep`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from ipam import transactions
from ipam.commit import Txn
from ipam.reads import Reader
from ipam.records import NodeRecord, TopologyRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.carving import carve
from ipam.topology.change import Change, OwnedBlock, PlacedNode, plan_change
from ipam.topology.document import TopologyDocument, normalised
from romana import keys
from romana.errors import Ambiguous, Conflict, Fault, Refused
from romana.store.api import Store

__all__ = ["Applied", "Topologies"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
PLACED_MAX = 100  # of 128 operations and 128 compares

Moves = list[tuple[Row[NodeRecord], NodeRecord]]


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer."""

    generation: int
    changed: bool
    revision: int


class Topologies:
    """One at a time in this process: `lock` is also held while a node is added. `now_ms` is the wall clock."""

    def __init__(self, store: Store, reader: Reader, state: State, lock: asyncio.Lock, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._lock = lock
        self._now_ms = now_ms

    def plan(self, document: TopologyDocument) -> Change:
        """What the document would mean for the nodes and blocks that are there."""
        change = plan_change(carve(document), self._placed_nodes(), self._owned_blocks())
        return replace(change, refusals=(*change.refusals, *self._covered_nodes(document)))

    async def apply(self, document: TopologyDocument) -> Applied:
        """Put the document in force, durably. Idempotent.

        Raises Refused, with every reason, when it cannot be reached safely; Conflict and Unavailable when it may succeed later.
        """
        self._state.require_whole()
        async with self._lock:
            lost = False
            for _ in range(ATTEMPTS):
                try:
                    applied = await self._attempt(document)
                except Ambiguous:
                    lost = True
                    await self._reload()
                    continue
                if applied is not None:
                    await self._place_rest()
                    return replace(applied, changed=applied.changed or lost)
        raise Conflict(f"the topology was not applied: {ATTEMPTS} times nodes or blocks changed meanwhile; try again")

    async def place_pending(self) -> int:
        """Place the nodes that the topology in force wants elsewhere; the answer is how many."""
        async with self._lock:
            return await self._place_rest()

    async def _attempt(self, document: TopologyDocument) -> Applied | None:
        """The answer; None when something was in the way, which is known now."""
        old, raw = self._state.in_force(), normalised(document)
        if old is not None and old.value.raw == raw:
            revision, _ = await self._reader.read(keys.TOPOLOGY)
            return Applied(old.value.generation, changed=False, revision=revision) if self._state.in_force() == old else None
        change = self.plan(document)
        if change.refusals:
            raise Refused("the topology cannot be changed to this now", [Fault("", line) for line in change.refusals])
        record = TopologyRecord.of(document, old.value.generation + 1 if old else 1)
        moves = self._moves(change)[:PLACED_MAX]
        seen = (self._state.nodes.revision, self._state.blocks.revision)
        txn = transactions.apply(record, old, moves, seen, self._now_ms())
        result = await self._store.txn(txn.compares, txn.writes)
        if not result.succeeded:
            await self._reload()
            return None
        self._took(txn, result.revision)
        log.info("topology applied", extra={"generation": record.generation, "nodes_placed": len(moves)})
        return Applied(record.generation, changed=True, revision=result.revision)

    def _took(self, txn: Txn, revision: int) -> None:
        self._state.committed(txn, revision)
        # The transaction has compared that no other node and no block was written.
        self._state.nodes.complete_to(revision)
        self._state.blocks.complete_to(revision)

    async def _place_rest(self) -> int:
        """Raises Conflict when nodes or the topology change meanwhile: what is left is found again."""
        topology = self._state.in_force()
        if topology is None:
            return 0
        moves = self._moves(plan_change(topology.value.prefixes, self._placed_nodes(), self._owned_blocks()))
        for start in range(0, len(moves), PLACED_MAX):
            txn = transactions.place(topology, moves[start : start + PLACED_MAX])
            result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                raise Conflict("nodes or topology changed while nodes were placed; the rest is placed soon")
            self._state.committed(txn, result.revision)
        return len(moves)

    def _moves(self, change: Change) -> Moves:
        """The nodes whose placements change."""
        rows = [row for row in self._state.nodes.rows.values() if change.placements[row.value.name] != row.value.placements]
        return [(row, replace(row.value, placements=change.placements[row.value.name])) for row in rows]

    async def _reload(self) -> None:
        for prefix in (keys.TOPOLOGY, keys.NODES, keys.BLOCKS):
            await self._state.reload(self._store, prefix)

    def _placed_nodes(self) -> list[PlacedNode]:
        rows = sorted(self._state.nodes.rows.values(), key=lambda row: (row.create_revision, row.key))
        nodes = [row.value for row in rows]
        return [PlacedNode(node.name, node.uid, dict(node.labels), node.placements) for node in nodes]

    def _owned_blocks(self) -> list[OwnedBlock]:
        blocks = [row.value for row in self._state.blocks.rows.values()]
        return [OwnedBlock(block.network, block.cidr, block.node, block.node_uid) for block in blocks]

    def _covered_nodes(self, document: TopologyDocument) -> list[str]:
        """Nodes whose own addresses the document would give to pods."""
        return [
            f"network {network.name} ({network.cidr}) covers {address}, which is node {row.value.name}'s own address"
            for row in self._state.nodes.rows.values()
            for address in row.value.addresses
            for network in document.networks
            if address in network.cidr
        ]
