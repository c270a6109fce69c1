"""The contents and history of `MemoryStore`: etcd's rules for revisions, transactions and compaction. No I/O.

Source: etcd v3.4, mvcc/kvstore_txn.go and etcdserver/apply.go.
"""

import operator
from bisect import bisect_left
from collections.abc import Sequence

from romana.errors import Compacted
from romana.store.api import Batch, Compare, CompareField, CompareOp, Delete, Event, Get, KeyValue, Op, Put, TxnResult

__all__ = ["MemoryState"]

_OPERATORS = {
    CompareOp.EQUAL: operator.eq,
    CompareOp.NOT_EQUAL: operator.ne,
    CompareOp.GREATER: operator.gt,
    CompareOp.LESS: operator.lt,
}


class MemoryState:
    """Keys, the revision (1 when nothing was written yet, as in etcd), and the events of every revision that is kept."""

    def __init__(self) -> None:
        self.items: dict[str, KeyValue] = {}
        self.revision = 1
        self.compacted = 0
        self._log: list[Batch] = []

    def below(self, prefix: str, limit: int = 0) -> tuple[KeyValue, ...]:
        """The keys below the prefix, sorted as etcd does, by their bytes."""
        keys = sorted((key for key in self.items if key.startswith(prefix)), key=str.encode)
        return tuple(self.items[key] for key in (keys[:limit] if limit else keys))

    def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> TxnResult:
        """Run a checked transaction; a branch that changes nothing takes no revision."""
        succeeded = all(self._holds(compare) for compare in compares)
        events: list[Event] = []
        gets = []
        for op in success if succeeded else failure:
            if isinstance(op, Get):
                gets.append(self._found(op.key, op.prefix, op.limit))
            else:
                events += self._put(op) if isinstance(op, Put) else self._delete(op)
        self._commit(events)
        return TxnResult(succeeded, self.revision, tuple(gets))

    def drop_lease(self, lease_id: int) -> None:
        """Delete the keys under a lease, in one revision."""
        keys = [item.key for item in self.below("") if item.lease == lease_id]
        self._commit([event for key in keys for event in self._delete(Delete(key))])

    def compact(self, revision: int) -> None:
        """Forget the history before `revision`."""
        if not self.compacted < revision <= self.revision:
            raise Compacted(f"compact to {revision}: kept are {self.compacted} to {self.revision}", self.compacted)
        self.compacted = revision
        # The events of `revision` itself go too: `first_batch` never asks for them.
        self._log = [batch for batch in self._log if batch.revision > revision]

    def first_batch(self, prefix: str, following: int) -> Batch | None:
        """The first events below the prefix at or after a revision, None when there are none yet; raises Compacted."""
        if not self.compacted <= following - 1 <= self.revision:
            what = f"watch from {following}: kept are {self.compacted} to {self.revision}"
            raise Compacted(what, self.compacted)
        start = bisect_left(self._log, following, key=lambda batch: batch.revision)
        for batch in self._log[start:]:
            events = tuple(event for event in batch.events if event.key.startswith(prefix))
            if events:
                return Batch(batch.revision, events)
        return None

    def _found(self, key: str, prefix: bool, limit: int = 0) -> tuple[KeyValue, ...]:
        if prefix:
            return self.below(key, limit)
        return (self.items[key],) if key in self.items else ()

    def _holds(self, compare: Compare) -> bool:
        found = self._found(compare.key, compare.prefix)
        if not found and compare.field is CompareField.VALUE:
            return False
        holds = _OPERATORS[compare.op]
        operands = [_field(item, compare.field) for item in found] or [0]
        return all(holds(value, compare.operand) for value in operands)

    def _put(self, op: Put) -> list[Event]:
        revision, old = self.revision + 1, self.items.get(op.key)
        created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
        item = KeyValue(op.key, op.value, created, revision, version, op.lease)
        self.items[op.key] = item
        return [Event(op.key, revision, item)]

    def _delete(self, op: Delete) -> list[Event]:
        found = [item for item in self.below("") if op.covers(item.key)] if op.until else self._found(op.key, op.prefix)
        for item in found:
            del self.items[item.key]
        return [Event(item.key, self.revision + 1, None) for item in found]

    def _commit(self, events: list[Event]) -> None:
        if events:
            self.revision += 1
            self._log.append(Batch(self.revision, tuple(events)))


def _field(item: KeyValue, field: CompareField) -> int | bytes:
    match field:
        case CompareField.CREATE:
            return item.create_revision
        case CompareField.MOD:
            return item.mod_revision
        case CompareField.VERSION:
            return item.version
        case CompareField.LEASE:
            return item.lease
        case CompareField.VALUE:
            return item.value
