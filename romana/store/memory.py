"""The store in one process's memory, held to the same contract tests as etcd; for tests, which can also make it fail.

Its faults are methods of their own: `fail` and `mend` (etcd away and back), `restore` (etcd from a backup),
`lose_next_answer` (an ambiguous write), `expire_lease`; and `write` and `forget` (compact), which work while it fails.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from romana.errors import Ambiguous, Compacted, NotFound, Unavailable
from romana.store import limits
from romana.store.api import Batch, Compare, KeyValue, Lease, Listing, Op, Put, Status, TxnResult
from romana.store.memory_state import MemoryState

__all__ = ["MemoryLease", "MemoryStore"]


class MemoryLease:
    """A lease that lives until it is revoked or `MemoryStore.expire_lease` ends it."""

    def __init__(self, store: "MemoryStore", lease_id: int, ttl_s: int) -> None:
        self.id = lease_id
        self.ttl_s = ttl_s
        self._store = store

    @property
    def lost(self) -> bool:
        """True once the lease is gone."""
        return not self._store.has_lease(self.id)

    async def revoke(self) -> None:
        """End the lease and all keys under it; without effect when it is gone already."""
        self._store.expire_lease(self.id)


class MemoryStore:
    """A `Store` without a server. Every call lets other tasks run first, so that calls of several tasks interleave."""

    def __init__(self, version: str = "3.5.16") -> None:
        """`version` is what `status` reports: the etcd whose behaviour this one follows."""
        self._version = version
        self._state = MemoryState()
        self._leases: set[int] = set()
        self._granted = 0
        self._restores = 0
        self._down = False
        self._closed = False
        self._lost_answers: list[bool] = []
        self._changed = asyncio.Event()

    @property
    def replaced(self) -> int:
        """How often it was restored."""
        return self._restores

    async def get(self, key: str) -> KeyValue | None:
        """The key as it is now, or None."""
        await self._reach(f"get {key!r}")
        return self._state.items.get(key)

    async def list(self, prefix: str, page_size: int = 500) -> Listing:
        """All keys below the prefix; `page_size` is of no consequence here."""
        await self._reach(f"list {prefix!r} by {page_size}")
        return Listing(self._state.revision, self._state.below(prefix))

    async def count(self, prefix: str) -> int:
        """How many keys there are below the prefix; no value is sent."""
        await self._reach(f"count {prefix!r}")
        return len(self._state.below(prefix))

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Run `success` if every compare holds, else `failure`, atomically."""
        limits.check_txn(compares, success, failure)
        await self._reach(f"txn of {len(success)} operations")
        if self._lost_answers:
            applied = self._lost_answers.pop(0)
            if applied:
                self._run(compares, success, failure)
            raise Ambiguous(f"txn of {len(success)} operations: the answer was lost")
        return self._run(compares, success, failure)

    def _run(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> TxnResult:
        for op in [*success, *failure]:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise NotFound(f"put {op.key!r}: lease {op.lease} is not there")
        result = self._state.txn(compares, success, failure)
        self._wake()
        return result

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Every change below the prefix from `revision` on; ends when the store is closed, raises Compacted."""
        restores, following = self._restores, revision
        while not self._closed:
            changed = self._changed
            if not self._down:
                if restores != self._restores:
                    raise Compacted(f"watch of {prefix!r} from revision {following}: the store was restored")
                batch = self._state.first_batch(prefix, following)
                following = (batch.revision if batch else self._state.revision) + 1
                if batch:
                    yield batch
                    continue
            await changed.wait()

    async def grant_lease(self, ttl_s: int) -> Lease:
        """A new lease."""
        limits.check_lease_ttl(ttl_s)
        await self._reach("grant a lease")
        self._granted += 1
        self._leases.add(self._granted)
        return MemoryLease(self, self._granted, ttl_s)

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`; raises Compacted when that is gone already, or lies in the future."""
        await self._reach(f"compact to {revision}")
        self._state.compact(revision)

    async def status(self) -> Status:
        """What an etcd of one member would say."""
        await self._reach("status")
        size = sum(len(item.key) + len(item.value) for item in self._state.items.values())
        return Status(self._version, 1, 1, self._state.revision, size, 1)

    async def close(self) -> None:
        """End all watches; later calls raise Unavailable."""
        self._closed = True
        self._wake()

    def write(self, ops: Sequence[Op]) -> TxnResult:
        """A transaction of somebody else, who reaches the store even while it fails for us."""
        return self._run([], ops, [])

    def forget(self) -> None:
        """Compact the whole history, even while the store fails for us; without effect when there is none."""
        if self._state.compacted < self._state.revision:
            self._state.compact(self._state.revision)

    def fail(self) -> None:
        """From now on calls raise Unavailable and watches wait."""
        self._down = True

    def mend(self) -> None:
        """End `fail`: watches go on where they stopped, or raise Compacted."""
        self._down = False
        self._wake()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """As an etcd restored from a backup: other contents, at lower revisions; watches raise Compacted."""
        self._state = MemoryState()
        self._restores += 1
        for key, value in items.items():
            self._state.txn([], [Put(key, value)], [])
        self._wake()

    def lose_next_answer(self, applied: bool) -> None:
        """The next transaction (one more for each call) raises Ambiguous, whether or not it was applied."""
        self._lost_answers.append(applied)

    def has_lease(self, lease_id: int) -> bool:
        """Whether this lease is alive."""
        return lease_id in self._leases

    def expire_lease(self, lease_id: int) -> None:
        """End a lease: its keys go in one revision."""
        self._leases.discard(lease_id)
        self._state.drop_lease(lease_id)
        self._wake()

    async def _reach(self, what: str) -> None:
        await asyncio.sleep(0)
        if self._closed or self._down:
            raise Unavailable(f"{what}: the store is {'closed' if self._closed else 'down'}")

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
