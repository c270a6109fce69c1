"""Adds nodes and places them in the topology."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipam import transactions
from ipam.moving import node_moves
from ipam.reads import Reader
from ipam.records import NodeRecord, TopologyRecord
from ipam.state import State
from ipam.table import Row
from ipam.topology.placement import Counts, Placement, fewest, misfits, place_or_refuse, placement_in
from romana import keys
from romana.errors import Ambiguous, Conflict, Fault, Refused, Unavailable
from romana.keys import Address
from romana.store.api import Store

__all__ = ["Added", "Nodes", "placements_with"]

log = logging.getLogger(__name__)

ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Added:
    """The answer."""

    node: NodeRecord
    changed: bool
    revision: int


class Nodes:
    """One at a time in this process: `lock` is also held while a topology is applied."""

    def __init__(self, store: Store, reader: Reader, state: State, lock: asyncio.Lock) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._lock = lock

    async def add(self, name: str, uid: str, addresses: Sequence[Address], labels: dict[str, str]) -> Added:
        """Add the node and place it, or change addresses and labels of the one that is there. Idempotent.

        Labels that ask for another group do not move it: it moves once it was drained. Raises Refused for another incarnation, an
        address in use, no group that takes it; Conflict and Unavailable when it may succeed later.
        """
        self._state.require_whole()
        wanted = NodeRecord(name, uid, tuple(addresses), tuple(sorted(labels.items())))
        async with self._lock:
            lost = False
            for _ in range(ATTEMPTS):
                try:
                    added = await self._attempt(wanted)
                except Ambiguous:
                    lost = True
                    await self._state.reload(self._store, keys.NODES)
                    continue
                if added is not None:
                    return replace(added, changed=added.changed or lost)
        raise Conflict(f"node {name} was not added: {ATTEMPTS} times other nodes changed meanwhile; try again")

    async def _attempt(self, wanted: NodeRecord) -> Added | None:
        """The answer; None when something was in the way, which is known now."""
        old, topology = self._state.node(wanted.name), self._state.in_force()
        self._refuse_unfit(wanted, old)
        node = self._placed(wanted, old, topology)
        if old is not None and node == old.value:
            revision, _ = await self._reader.read(old.key)
            return Added(node, changed=False, revision=revision) if self._state.node(wanted.name) == old else None
        txn = transactions.add_node(node, old, topology, self._state.nodes.revision)
        result = await self._store.txn(txn.compares, txn.writes, txn.reads)
        if not result.succeeded:
            self._state.learn(txn.reads, result)
            await self._state.reload(self._store, keys.NODES)
            return None
        self._state.committed(txn, result.revision)
        self._state.nodes.complete_to(result.revision)  # the transaction has compared that no other node was written
        log.info("node added" if old is None else "node changed", extra={"node": node.name, "uid": node.uid})
        if moves := node_moves(self._state, topology.value, node) if topology else []:
            told = [str(move) for move in moves]
            log.warning("node's labels ask for another group; it moves once drained", extra={"node": node.name, "moves": told})
        return Added(node, changed=True, revision=result.revision)

    def _placed(self, wanted: NodeRecord, old: Row[NodeRecord] | None, topology: Row[TopologyRecord] | None) -> NodeRecord:
        uid = wanted.uid or (old.value.uid if old else str(uuid.uuid4()))
        before = old.value.placements if old else ()
        node = replace(wanted, uid=uid, placements=before, draining=bool(old and old.value.draining))
        if topology is None:
            return node  # placed when one is applied
        others = (row.value for row in self._state.nodes.rows.values() if row.value.name != node.name)
        counts = Counter((place.network, place.path) for other in others for place in other.placements)
        if old is None or not before:
            return replace(node, placements=place_or_refuse(topology.value.prefixes, node.name, dict(node.labels), counts))
        return replace(node, placements=placements_with(topology.value, old.value, node, counts))

    def _refuse_unfit(self, wanted: NodeRecord, old: Row[NodeRecord] | None) -> None:
        if old is not None and wanted.uid not in {"", old.value.uid}:
            raise Refused(
                f"node {wanted.name} is there as another incarnation (uid {old.value.uid}, the request has {wanted.uid}); "
                f"remove that one first: romana node remove {wanted.name}",
                reason="NODE_REPLACED",
            )
        faults = [
            Fault(f"addresses[{index}]", f"{address} {why}")
            for index, address in enumerate(wanted.addresses)
            for why in self._in_use(wanted.name, address)
        ]
        if faults:
            raise Refused(f"node {wanted.name} cannot have these addresses", faults, reason="NODE_ADDRESS_TAKEN")

    def _in_use(self, name: str, address: Address) -> list[str]:
        users = [row.value.name for row in self._state.nodes.rows.values() if address in row.value.addresses]
        topology = self._state.in_force()
        covering = [network for network in topology.value.document.networks if address in network.cidr] if topology else []
        return [
            *(f"is node {user}'s already" for user in users if user != name),
            *(f"lies in network {network.name} ({network.cidr}), whose addresses are pods'" for network in covering),
        ]


def placements_with(topology: TopologyRecord, old: NodeRecord, node: NodeRecord, counts: Counts) -> tuple[Placement, ...]:
    """A placed node's placements with the labels that it has now: it keeps those it has, and may come into more networks.

    One that its labels do not ask for any more is marked: the node moves once it was drained (`ipam.moving`). Raises Refused
    where no group of any network takes the node any more, Unavailable while it waits to be placed in a new topology.
    """
    labels = dict(node.labels)
    if node.labels != old.labels and not all(topology.takes(old, place) for place in old.placements):
        raise Unavailable(f"node {node.name} is being placed in the new topology; try again")
    candidates = topology.candidates.of(node.name, labels)
    if not candidates:
        faults = misfits(topology.prefixes, node.name, labels)
        words = f"no group of the topology takes node {node.name} with these labels; it stays as it is"
        raise Refused(words, faults, reason="NODE_IN_NO_GROUP")
    known = {place.network for place in node.placements}
    added = [placement_in(fewest(found, counts)) for network, found in candidates.items() if network not in known]
    return (*(_kept(topology, old, node, place) for place in node.placements), *added)


def _kept(topology: TopologyRecord, old: NodeRecord, node: NodeRecord, place: Placement) -> Placement:
    if not topology.takes(old, place):
        return place
    return replace(place, kept=topology.would_move(node, replace(place, kept=True)))
