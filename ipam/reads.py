"""Reads of keys that wait at the same time are sent as one, each at one revision."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from romana.store.api import Get, KeyValue, Store, TxnResult
from romana.store.limits import MAX_OPS

__all__ = ["Reader"]

IN_FLIGHT = 1  # while it is under way the rest gathers: measured, larger groups beat more of them

Found = dict[str, KeyValue | None]
"""Every key that was asked for; None: absent."""

_Waiting = tuple[tuple[str, ...], "asyncio.Future[tuple[int, Found]]"]


class Reader:
    """Reads from the store, grouped. `learn` is called with what was read, before the caller hears."""

    def __init__(self, store: Store, learn: Callable[[Sequence[Get], TxnResult], Found]) -> None:
        self._store = store
        self._learn = learn
        self._queue: deque[_Waiting] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def read(self, *keys: str) -> tuple[int, Found]:
        """These keys as they are now (linearizable), and the revision at which they were so. Raises Unavailable."""
        answer: asyncio.Future[tuple[int, Found]] = asyncio.get_running_loop().create_future()
        self._queue.append((keys, answer))
        if len(self._senders) < IN_FLIGHT:
            sender = asyncio.create_task(self._send_waiting(), name="read")
            self._senders.add(sender)
        return await answer

    async def _send_waiting(self) -> None:
        try:
            while self._queue:
                await self._send_group(self._next_group())
        finally:
            # In the step that found the queue empty: a later done-callback would leave what comes between to nobody.
            self._senders.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _send_group(self, group: Sequence[_Waiting]) -> None:
        try:
            await self._send(group)
        except asyncio.CancelledError:
            for _, answer in group:
                answer.cancel()
            raise
        except Exception as err:  # noqa: BLE001 - whatever it is, a bug too, belongs to the callers and not to this task
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(err)

    def _next_group(self) -> list[_Waiting]:
        group = [self._queue.popleft()]
        size = len(group[0][0])
        while self._queue and size + len(self._queue[0][0]) <= MAX_OPS:
            group.append(self._queue.popleft())
            size += len(group[-1][0])
        return group

    async def _send(self, group: Sequence[_Waiting]) -> None:
        reads = [Get(key) for key in dict.fromkeys(key for keys, _ in group for key in keys)]
        result = await self._store.txn([], reads)
        found = self._learn(reads, result)
        for keys, answer in group:
            if not answer.done():  # a caller that gave up has cancelled it
                answer.set_result((result.revision, {key: found[key] for key in keys}))
