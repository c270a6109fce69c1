"""Puts topology documents in force, and keeps every node placed in the one that is.

A change is one transaction: the document, the nodes that stand elsewhere under it, and the blocks without live addresses that
stand in its way, given back (`ipam.giving_back`). Past `PLACED_MAX` nodes, the rest follow in
transactions of their own. Until its turn comes such a node is given no block (`TopologyRecord.takes`) and keeps those it has;
should this ipamd die meanwhile, any other places the rest (`ipam.upkeep`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from ipam import transactions
from ipam.commit import Txn
from ipam.giving_back import GIVEN_BACK_MAX, GivingBack, giving_back, owned_blocks
from ipam.reads import Reader
from ipam.records import AddressRecord, NodeRecord, TopologyRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.carving import carve
from ipam.topology.change import Change, PlacedNode, plan_change
from ipam.topology.document import TopologyDocument, normalised
from romana import keys
from romana.errors import Ambiguous, Conflict, Fault, Refused
from romana.keys import Network
from romana.store.api import Store
from romana.store.limits import MAX_OPS

__all__ = ["Applied", "Topologies"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
PLACED_MAX = 100  # of 128 operations and 128 compares
OTHER_MAX = 4  # operations and compares of a change beside nodes and what is given back
BUSY_PAUSE_S = 0.02  # for the watch to bring the addresses that were written meanwhile

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
        change = plan_change(carve(document), self._placed_nodes(), owned_blocks(self._state))
        refusals = [*change.refusals, *self._covered_nodes(document), *self._held_reserved(document)]
        back = giving_back(self._state, change)
        refusals += [] if back.fits else [back.refusal()]
        return replace(change, refusals=tuple(refusals), given_back=() if refusals else change.given_back)

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
        if change.refusals:  # the watch may lag: nothing is refused for what is gone already
            await self._reload(keys.ADDRESSES)
            change = self.plan(document)
        if change.refusals:
            found = [Fault("", line) for line in change.refusals]
            raise Refused("the topology cannot be changed to this now", found, reason="TOPOLOGY_IN_THE_WAY")
        record = TopologyRecord.of(document, old.value.generation + 1 if old else 1)
        back = giving_back(self._state, change)
        if len(back.deletes()) > GIVEN_BACK_MAX:
            await self._forget(back)
            return None
        reserving = sorted(self._newly_reserved(document))
        moves = self._moves(change)[: max(min(PLACED_MAX, MAX_OPS - OTHER_MAX - len(back.deletes()) - len(reserving)), 0)]
        seen = (self._state.nodes.revision, self._state.blocks.revision, self._state.addresses.revision)
        txn = transactions.apply(record, old, moves, back, reserving, seen, self._now_ms())
        result = await self._store.txn(txn.compares, txn.writes)
        if not result.succeeded:
            await self._reload()
            await asyncio.sleep(BUSY_PAUSE_S if back.networks or reserving else 0)
            return None
        self._took(txn, result.revision)
        fields = {"nodes_placed": len(moves), "blocks_given_back": len(change.given_back)}
        log.info("topology applied", extra={"generation": record.generation, **fields})
        return Applied(record.generation, changed=True, revision=result.revision)

    async def _forget(self, back: GivingBack) -> None:
        """Forget what has cooled down, in transactions of its own: harmless whatever comes of the change, which then has room."""
        for start in range(0, len(back.cooled), PLACED_MAX):
            txn = transactions.forget(back.cooled[start : start + PLACED_MAX])
            result = await self._store.txn(txn.compares, txn.writes, txn.reads)
            if not result.succeeded:
                self._state.learn(txn.reads, result)
                return
            self._state.committed(txn, result.revision)

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
        moves = self._moves(plan_change(topology.value.prefixes, self._placed_nodes(), owned_blocks(self._state)))
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

    async def _reload(self, *more: str) -> None:
        for prefix in (keys.TOPOLOGY, keys.NODES, keys.BLOCKS, *more):
            await self._state.reload(self._store, prefix)

    def _placed_nodes(self) -> list[PlacedNode]:
        rows = sorted(self._state.nodes.rows.values(), key=lambda row: (row.create_revision, row.key))
        nodes = [row.value for row in rows]
        return [PlacedNode(node.name, node.uid, dict(node.labels), node.placements) for node in nodes]

    def _held_reserved(self, document: TopologyDocument) -> list[str]:
        """Held addresses that the document keeps from being given out, and the one in force does not; some of each network."""
        found: dict[str, list[AddressRecord]] = {}
        added = self._newly_reserved(document)
        for row in self._state.addresses.rows.values() if added else ():
            if row.value.held and any(row.value.ip in cidr for cidr in added.get(row.value.network, ())):
                found.setdefault(row.value.network, []).append(row.value)
        return [
            f"network {network} would reserve addresses that are held: {len(held)}, the lowest {lowest.ip}"
            for network, held in found.items()
            for lowest in [min(held, key=lambda record: int(record.ip))]
        ]

    def _newly_reserved(self, document: TopologyDocument) -> dict[str, set[Network]]:
        """By network, what the document keeps from being given out, and the one in force does not."""
        old = self._state.in_force()
        before = {network.name: network.reserved for network in old.value.document.networks} if old else {}
        added = {network.name: set(network.reserved) - set(before.get(network.name, ())) for network in document.networks}
        return {name: cidrs for name, cidrs in added.items() if cidrs}

    def _covered_nodes(self, document: TopologyDocument) -> list[str]:
        """Nodes whose own addresses the document would give to pods."""
        return [
            f"network {network.name} ({network.cidr}) covers {address}, which is node {row.value.name}'s own address"
            for row in self._state.nodes.rows.values()
            for address in row.value.addresses
            for network in document.networks
            if address in network.cidr
        ]
