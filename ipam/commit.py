"""Group commit: transactions that wait at the same time are sent as one.

commit(a) ─┐                    ┌─ succeeded: all of them did, at one revision
commit(b) ─┼─→ queue ─→ txn ────┼─ failed: each by itself, so that one conflict fails one
commit(c) ─┘   (a few at once)  └─ Ambiguous, Unavailable: told to each; each reads back what it wanted
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from ipam.answers import Answers, Outcome
from romana.store.api import Compare, Delete, Get, Put, Store, TxnResult
from romana.store.limits import MAX_BYTES, MAX_OPS

__all__ = ["Committer", "Txn"]

IN_FLIGHT = 4  # while one is under way the rest gathers, and the others are for whole groups that are ready meanwhile
FULL = 32  # about what fits into one transaction: measured, larger groups beat more of them

Write = Put | Delete


@dataclass(frozen=True, slots=True)
class Txn:
    """One caller's transaction."""

    compares: tuple[Compare, ...]
    writes: tuple[Write, ...]
    values: tuple[tuple[str, object], ...] = ()
    """By key, what was encoded into some of the writes: whoever keeps it then need not decode it again."""

    @property
    def reads(self) -> tuple[Get, ...]:
        """Run when a compare fails, so that the answer names the conflict: every key that is compared, not whole prefixes."""
        return tuple(map(Get, dict.fromkeys(compare.key for compare in self.compares if not compare.prefix)))

    def size(self) -> int:
        """About how many bytes it takes on the wire."""
        return sum([len(write.key) + (len(write.value) if isinstance(write, Put) else 0) for write in self.writes])


_Waiting = tuple[Txn, Answers[TxnResult], int]
"""The transaction, and where its outcome goes."""


class Committer:
    """Sends transactions to the store, grouped. `committed` is called with each one that succeeded, before its caller hears."""

    def __init__(
        self, store: Store, committed: Callable[[Txn, int], None], sent: Callable[[int, bool], None] = lambda *_: None
    ) -> None:
        """`sent` is told of each transaction that was answered: how many callers' it was, and whether it succeeded."""
        self._sent = sent
        self._store = store
        self._committed = committed
        self._queue: deque[_Waiting] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def commit(self, txn: Txn) -> TxnResult:
        """The outcome of this transaction alone; raises Unavailable and Ambiguous as the store does."""
        [outcome] = await self.commit_all((txn,))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def commit_all(self, txns: Sequence[Txn]) -> Sequence[Outcome[TxnResult]]:
        """The outcome of each of these, by itself, in order: its result, or the error that `commit` raises."""
        answers: Answers[TxnResult] = Answers(len(txns))
        self._queue.extend((txn, answers, index) for index, txn in enumerate(txns))
        unsent = len(self._queue)
        while not self._senders or (unsent >= FULL and len(self._senders) < IN_FLIGHT):
            self._senders.add(asyncio.create_task(self._send_waiting(), name="commit"))
            unsent -= FULL
        return await answers.all()

    async def close(self) -> None:
        """Let what was taken be sent, then end."""
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _send_waiting(self) -> None:
        try:
            while self._queue:
                await self._send_group(*self._next_group())
        finally:
            # In the step that found the queue empty: a later done-callback would leave what comes between to nobody.
            self._senders.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _send_group(self, group: Sequence[_Waiting], compares: Sequence[Compare]) -> None:
        try:
            await self._send(group, compares)
        except asyncio.CancelledError:
            for _, answers, _ in group:
                answers.cancel()
            raise
        except Exception as err:  # noqa: BLE001 - whatever it is, a bug too, belongs to the callers and not to this task
            for _, answers, index in group:
                answers.set(index, err)

    def _next_group(self) -> tuple[list[_Waiting], tuple[Compare, ...]]:
        """As many of the waiting as fit into one transaction, in order, and all that they compare.

        It ends before one that writes or compares a key that the group writes: so the group means what its order says.
        """
        group: list[_Waiting] = []
        compares: dict[Compare, None] = {}
        written: set[str] = set()
        size = 0
        while self._queue:
            txn = self._queue[0][0]
            writes = [write.key for write in txn.writes]
            new = [compare for compare in txn.compares if compare not in compares]
            size += txn.size()
            if group:
                if len(compares) + len(new) > MAX_OPS or len(written) + len(writes) > MAX_OPS or size > MAX_BYTES // 2:
                    break
                if not written.isdisjoint(writes) or not written.isdisjoint([compare.key for compare in txn.compares]):
                    break
            compares.update(dict.fromkeys(new))
            written.update(writes)
            group.append(self._queue.popleft())
        return group, tuple(compares)

    async def _send(self, group: Sequence[_Waiting], compares: Sequence[Compare]) -> None:
        """Send as one; where that fails, each half by itself, so that one conflict costs a few transactions and fails one."""
        writes = [write for txn, _, _ in group for write in txn.writes]
        result = await self._store.txn(compares, writes, group[0][0].reads if len(group) == 1 else ())
        self._sent(len(group), result.succeeded)
        if result.succeeded:
            for txn, _, _ in group:
                self._committed(txn, result.revision)
        if result.succeeded or len(group) == 1:
            for _, answers, index in group:
                answers.set(index, result)
            return
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            await self._send(half, tuple(dict.fromkeys(compare for txn, _, _ in half for compare in txn.compares)))
