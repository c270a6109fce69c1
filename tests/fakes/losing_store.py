"""A store in front of another that loses the answers to writes, as a connection does that breaks at the wrong moment."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from romana.errors import Ambiguous
from romana.store.api import Batch, Compare, KeyValue, Lease, Listing, Op, Put, Status, Store, TxnResult

__all__ = ["LosingStore"]


class LosingStore:
    """A store whose answers to writes are lost, as `loses` says for each write: "after" it was applied, "before", or "" not."""

    def __init__(self, store: Store, loses: Callable[[int], str]) -> None:
        self._store = store
        self._loses = loses
        self._writes = 0
        self.lost = 0

    def lose(self, when: str) -> None:
        """Lose the next answer so, and no other."""
        next_one = self._writes + 1
        self._loses = lambda number: when if number == next_one else ""

    @property
    def replaced(self) -> int:
        return self._store.replaced

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        if not any(isinstance(op, Put) for op in success):
            return await self._store.txn(compares, success, failure)
        self._writes += 1
        when = self._loses(self._writes)
        if not when:
            return await self._store.txn(compares, success, failure)
        self.lost += 1
        if when == "after":
            await self._store.txn(compares, success, failure)
        elif when == "late":
            self._late = asyncio.create_task(self._apply_late(compares, success))
        raise Ambiguous(f"the answer was lost ({when})")

    async def _apply_late(self, compares: Sequence[Compare], success: Sequence[Op]) -> None:
        await asyncio.sleep(0.02)
        await self._store.txn(compares, success)

    async def get(self, key: str) -> KeyValue | None:
        return await self._store.get(key)

    async def list(self, prefix: str, page_size: int = 500) -> Listing:
        return await self._store.list(prefix, page_size)

    async def count(self, prefix: str) -> int:
        return await self._store.count(prefix)

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        return self._store.watch(prefix, revision)

    async def grant_lease(self, ttl_s: int) -> Lease:
        return await self._store.grant_lease(ttl_s)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def status(self) -> Status:
        return await self._store.status()

    async def close(self) -> None:
        await self._store.close()
