"""Takes what an agent says lives on its node: writes what the store has lost, and in a recovery releases what lives no more.

    read ──→ decide (ipam.reasserting) ──→ release what is displaced ──→ transaction: block, address, attachment, endpoint
      ▲                                                                       │ conflict, lost answer
      └───────────────────────────────────────────────────────────────────────┘
    all of it there ──→ in a recovery: restored/<node> DONE

Everything is read from the store for this, never from `ipam.state`, which may still hold what was before the restore.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ipam import codec, codec_address, transactions_reassert
from ipam.commit import Committer
from ipam.demand import demand_of
from ipam.history import Seen
from ipam.networks import share_of
from ipam.reads import Reader
from ipam.reasserting import Block, Heard, Rewrite, Scene, Stopped, decide, stale
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, BlockRecord, NodeRecord, Share
from ipam.recovery import Found, Recovery
from ipam.releasing import Releases
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused
from romana.keys import Network
from romana.store.api import KeyValue, Store
from romana.v1.store_pb2 import Pod

__all__ = ["Lives", "Reasserted", "Reasserts"]

log = logging.getLogger(__name__)

ATTEMPTS = 20

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Lives:
    """What an agent says."""

    node: str
    node_uid: str
    attachments: tuple[AttachmentRecord, ...]
    """Without addresses where the agent does not know how they were granted."""
    interfaces: frozenset[str]
    seen: Seen


@dataclass(frozen=True, slots=True)
class Reasserted:
    """The answer."""

    restored: int
    released: int
    conflicts: tuple[tuple[AttachmentId, Stopped], ...]
    point: Seen


class Reasserts:
    """See the module's docstring. `now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        committer: Committer,
        recovery: Recovery,
        releases: Releases,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._reader = reader
        self._committer = committer
        self._recovery = recovery
        self._releases = releases
        self._now_ms = now_ms

    async def reassert(self, lives: Lives) -> Reasserted:
        """Make the store have what lives on the node. Idempotent.

        Raises NotFound for a node that the store does not know, Refused for another incarnation of it; Conflict and Unavailable
        when it may succeed later.
        """
        key = keys.node(lives.node)
        point, _, found = await self._recovery.look(lives.seen, f"the agent of node {lives.node}", key)
        recovering = found[keys.RESTORED] is not None
        if found[key] is None and recovering:
            await self._recovery.mark(lives.node, Heard.NOTHING)
        node = _node(found, lives)
        released = await self._release_stale(lives) if recovering else 0
        known = {record.id for record in await self._known(lives.node)}
        # Owned by the machine that it lives on, whatever that was called before the store lost it.
        missing = [replace(record, node_uid=node.uid) for record in lives.attachments if record.id not in known]
        outcomes = await asyncio.gather(*(self._restore(record, node, recovering=recovering) for record in missing))
        conflicts = [(record.id, outcome) for record, outcome in zip(missing, outcomes, strict=True) if outcome is not None]
        answer = Reasserted(len(missing) - len(conflicts), released, tuple(conflicts), point)
        if recovering:
            blocked = any(stopped.blocking for _, stopped in conflicts)
            await self._recovery.mark(lives.node, Heard.SPOKEN if blocked else Heard.ALL)
        _log(lives.node, answer)
        return answer

    async def _known(self, node: str) -> list[AttachmentRecord]:
        listing = await self._store.list(f"{keys.ATTACHMENTS}{node}/")
        return [codec_address.read_attachment(item) for item in listing.items]

    async def _release_stale(self, lives: Lives) -> int:
        gone = stale(await self._known(lives.node), {record.id: record for record in lives.attachments}, lives.interfaces)
        await asyncio.gather(*(self._releases.release(attachment) for attachment in gone))
        return len(gone)

    async def _restore(self, record: AttachmentRecord, node: NodeRecord, *, recovering: bool) -> Stopped | None:
        """Write an attachment that lives; None when it is written, or was meanwhile."""
        for _ in range(ATTEMPTS):
            found = await self._read(record)
            if found[record.id.key] is not None:
                return None
            decision = decide(record, await self._scene(record, node, found, recovering=recovering))
            if isinstance(decision, Stopped):
                return decision
            if decision.displaced:
                await asyncio.gather(*(self._releases.release(other) for other in decision.displaced))
            elif await self._write(record, found, decision):
                return None
        raise Conflict(f"{record.id} could not be written again: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _read(self, record: AttachmentRecord) -> Found:
        wanted = [record.id.key, *record.endpoint_keys, keys.node(record.id.node), keys.TOPOLOGY]
        wanted += [keys.address(address.network, address.ip) for address in record.addresses]
        wanted += [keys.block(address.network, address.block) for address in record.addresses]
        wanted += [keys.pod(record.pod.namespace, record.pod.name)] if record.pod else []
        _, found = await self._reader.read(*wanted)
        return found

    async def _scene(self, record: AttachmentRecord, node: NodeRecord, found: Found, *, recovering: bool) -> Scene:
        topology = found[keys.TOPOLOGY]
        addresses = {a: _value(codec_address.read_address, found[keys.address(a.network, a.ip)]) for a in record.addresses}
        blocks = {a: _value(codec.read_block, found[keys.block(a.network, a.block)]) for a in record.addresses}
        foreign = [block for block in blocks.values() if block is not None and block.node_uid != node.uid]
        return Scene(
            node,
            codec.read_topology(topology) if topology else None,
            addresses,
            blocks,
            await self._recovery.heard() if recovering else _all_heard(addresses.values(), foreign),
            await self._held_in(foreign),
            await self._all_blocks() if None in blocks.values() else (),
        )

    async def _held_in(self, blocks: Sequence[BlockRecord]) -> Mapping[Network, int]:
        """How many addresses are held in these blocks; rare, so each is counted in a listing of its network."""
        counts: dict[Network, int] = {}
        for block in blocks:
            items = (await self._store.list(f"{keys.ADDRESSES}{block.network}/")).items
            counts[block.cidr] = sum(
                codec_address.read_address(i).held for i in items if keys.parse_address(i.key)[1] in block.cidr
            )
        return counts

    async def _all_blocks(self) -> list[BlockRecord]:
        return [codec.read_block(item) for item in (await self._store.list(keys.BLOCKS)).items]

    async def _write(self, record: AttachmentRecord, found: Found, decision: Rewrite) -> bool:
        plain, full = record.endpoint_keys
        record = replace(record, created_ms=record.created_ms or self._now_ms())
        txn = transactions_reassert.rewrite(
            record, found, decision.blocks, _shares(record, found), full if found[plain] else plain
        )
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return False  # whether it came is read next
        if result.succeeded:
            ips = [str(address.ip) for address in record.addresses]
            moved = [str(a.block) for a, block in zip(record.addresses, decision.blocks, strict=True) if block is not Block.OWN]
            log.warning("live attachment written again", extra={"attachment": str(record.id), "ips": ips, "blocks": moved})
        return result.succeeded


def _node(found: Found, lives: Lives) -> NodeRecord:
    item = found[keys.node(lives.node)]
    if item is None:
        raise NotFound(f"node {lives.node} is not known; add it again: romana node add {lives.node}", reason="NODE_UNKNOWN")
    node = codec.read_node(item)
    if lives.node_uid not in {"", node.uid}:
        raise Refused(
            f"node {lives.node} is now another incarnation: its uid is {node.uid}, the request is from {lives.node_uid}",
            reason="NODE_REPLACED",
        )
    return node


def _shares(record: AttachmentRecord, found: Found) -> list[Share]:
    """Whose blocks on the node the addresses lie in: a tenant's segment's where the network says so.

    The segment is a label of the Pod object; a pod that has none by now is of the default one.
    """
    topology = found[keys.TOPOLOGY]
    document = codec.read_topology(topology).document if topology else None
    networks = {network.name: network for network in document.networks} if document else {}
    pod = record.pod
    item = found[keys.pod(pod.namespace, pod.name)] if pod else None
    labels = Pod.FromString(item.value).labels if item else {}
    demand = demand_of(pod.namespace if pod else "", labels, {})
    return [share_of(networks[a.network], demand) if a.network in networks else Share() for a in record.addresses]


def _all_heard(addresses: Iterable[AddressRecord | None], blocks: Iterable[BlockRecord]) -> dict[str, Heard]:
    """Outside a recovery the store is right about everybody."""
    holders = {record.attachment.node for record in addresses if record and record.attachment}
    return dict.fromkeys(holders | {block.node for block in blocks}, Heard.ALL)


def _value(read: Callable[[KeyValue], Value], item: KeyValue | None) -> Value | None:
    return read(item) if item is not None else None


def _log(node: str, answer: Reasserted) -> None:
    fields = {"node": node, "restored": answer.restored, "released": answer.released}
    for attachment, stopped in answer.conflicts:
        log.error("live attachment is not in the store", extra={"attachment": str(attachment), "reason": stopped.reason})
    log.info("node re-asserted", extra={**fields, "conflicts": len(answer.conflicts)})
