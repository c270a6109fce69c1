"""Gives addresses to attachments: decide on the state, write in one transaction, and look again when something was in the way.

together (ipam.rounds): pick ──→ transaction ──→ answer
                          │ anything that is not plain
by itself:                ▼
    ask the store: attachment there already? ──→ node, pod ──→ pick ──→ (claim a block) ──→ transaction ──→ answer
                          ▲                                                                      │ conflict, lost answer, refusal
                          └──────────────────────────────────────────────────────────────────────┘
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from ipam import attempt, codec_address
from ipam.answers import Outcome
from ipam.attempt import Decided, Granted, Wanted
from ipam.commit import Committer, Txn
from ipam.picker import Picked, Picker
from ipam.reads import Reader
from ipam.records import AttachmentRecord, NodeRecord, endpoint_keys
from ipam.recovery import Recovery
from ipam.rounds import Rounds
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused, RomanaError
from romana.store.api import Compare, KeyValue, Put, Store

__all__ = ["Allocations", "Granted", "Wanted"]

ATTEMPTS = 20  # every failed one taught us what was in the way


class Allocations:
    """`now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        state: State,
        committer: Committer,
        picker: Picker,
        recovery: Recovery,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._committer = committer
        self._picker = picker
        self._recovery = recovery
        self._now_ms = now_ms
        self._rounds = Rounds(state, committer, picker, recovery, self._read_back, now_ms)

    async def allocate(self, wanted: Wanted) -> Granted:
        """Give the attachment its addresses, or those that it has; durable before it returns. Idempotent.

        The first attempt, together with others, trusts what was heard: the transaction finds out whether the attachment is there
        already. When it comes to nothing the store is asked, so that a repeat is answered whatever has become of its node, pod or
        network. Raises NotFound, Refused, InvalidInput, Exhausted; Conflict and Unavailable when the same may succeed later.
        """
        self._state.require_whole()
        if self._state.may_hold(wanted.attachment):
            return await self._by_itself(wanted)
        [outcome] = await self._rounds.attempt((wanted,))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or await self._by_itself(wanted)

    async def allocate_all(self, wanted: Sequence[Wanted]) -> Sequence[Outcome[Granted]]:
        """`allocate` for each of these, by itself, in order: what it returns, or the error that it raises."""
        self._state.require_whole()
        outcomes = await self._rounds.attempt(wanted)
        plain = [outcome for outcome in outcomes if outcome is not None]
        return plain if len(plain) == len(outcomes) else await asyncio.gather(*map(self._outcome, wanted, outcomes))

    async def _outcome(self, wanted: Wanted, outcome: Outcome[Granted | None]) -> Outcome[Granted]:
        if outcome is not None:
            return outcome
        try:
            return await self._by_itself(wanted)
        except RomanaError as err:
            return err

    async def _by_itself(self, wanted: Wanted) -> Granted:
        for _ in range(ATTEMPTS):
            granted = await self._attempt(wanted)
            if granted is not None:
                return granted
            # What was in the way is known now, but for a reservation or a topology: these are not read with each conflict.
            await self._state.reload(self._store, keys.RESERVATIONS)
            await self._state.reload(self._store, keys.TOPOLOGY)
        raise Conflict(f"no address for {wanted.attachment}: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _attempt(self, wanted: Wanted) -> Granted | None:
        node = await self._node(wanted)
        endpoint_key, full = endpoint_keys(wanted.attachment, wanted.pod)
        pod_keys = [keys.pod(wanted.pod.namespace, wanted.pod.name)] if wanted.pod else []
        asker = f"the agent of node {wanted.attachment.node}"
        asked = (wanted.attachment.key, endpoint_key, node.key, *pod_keys)
        history, found = await self._recovery.allowed(wanted.seen, asker, *asked)
        if (item := found[wanted.attachment.key]) is not None:
            granted = await self._standing(item, wanted, node)
            return replace(granted, history=history) if granted else None
        if found[endpoint_key] is not None:
            endpoint_key = full
        pod = found[pod_keys[0]] if wanted.pod else None
        asks = attempt.demand(wanted, attempt.checked_pod(pod, wanted.pod) if wanted.pod else None)
        # Before the pick: of a pair, one is picked while the other's block is claimed.
        decided = Decided.on(self._state, node.value)
        picked = await self._picker.reserve(node.value.name, asks)
        try:
            granted = await self._write(wanted, decided, picked, endpoint_key, pod)
            return replace(granted, history=history) if granted else None
        finally:
            self._picker.settle(picked)

    async def _node(self, wanted: Wanted) -> Row[NodeRecord]:
        """The node, fenced by its incarnation; asks the store before it says no."""
        name = wanted.attachment.node
        row = self._state.node(name)
        if row is None or wanted.node_uid not in {"", row.value.uid}:
            await self._reader.read(keys.node(name))
            row = self._state.node(name)
        if row is None:
            raise NotFound(
                f"node {name} is not known (no key {keys.node(name)}); add it first: romana node add {name}",
                reason="NODE_UNKNOWN",
            )
        if wanted.node_uid not in {"", row.value.uid}:
            raise Refused(
                f"node {name} is now another incarnation: its uid is {row.value.uid}, the request is from {wanted.node_uid}",
                reason="NODE_REPLACED",
            )
        return row

    async def _write(
        self, wanted: Wanted, decided: Decided, picked: Sequence[Picked], endpoint_key: str, pod: KeyValue | None
    ) -> Granted | None:
        """Write what was picked; None when something was in the way, which is known now."""
        made = attempt.transaction(self._state, wanted, decided, picked, endpoint_key, pod, self._now_ms())
        node = self._state.node(wanted.attachment.node)
        if made is None or node is None:
            return None
        record, txn = made
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return await self._read_back(wanted, record)
        if result.succeeded:
            attempt.tell(record, picked)
            return Granted(record, result.revision, existing=False)
        item = self._state.learn(txn.reads, result)[wanted.attachment.key]
        return await self._standing(item, wanted, node) if item is not None else None

    async def _standing(self, item: KeyValue, wanted: Wanted, node: Row[NodeRecord]) -> Granted | None:
        """The answer that was given before, of the boot that asks now; None when something was in the way.

        What is dead is released by comparing that nothing was written since (ipam.check.liveness). So an ADD that is about to
        make the interface anew must not rest on an attachment of an earlier boot, or of a node that was removed meanwhile.
        """
        there = self._state.node(node.value.name)
        if there is None or there.value.uid != node.value.uid:
            return None
        granted = attempt.existing(item, wanted, node.value)
        if not wanted.boot_id or granted.record.boot_id == wanted.boot_id:
            return granted
        record = replace(granted.record, boot_id=wanted.boot_id)
        key = record.id.key
        txn = Txn((Compare.at(key, granted.revision),), (Put(key, codec_address.write_attachment(record)),))
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            return None  # the next look sees whether it came
        return replace(granted, record=record, revision=result.revision) if result.succeeded else None

    async def _read_back(self, wanted: Wanted, record: AttachmentRecord) -> Granted | None:
        """What became of a write whose answer was lost; None when it is not there (should it come late, the next conflicts)."""
        wrote = [*(address.key for address in record.addresses), record.id.key]
        _, found = await self._reader.read(*wrote, keys.node(record.id.node))
        item, node = found[record.id.key], self._state.node(record.id.node)
        if item is None or node is None:
            return None
        granted = await self._standing(item, wanted, node)
        return replace(granted, existing=granted.record != record) if granted else None
