"""One call at a time per attachment, and a DEL that no earlier ADD outlives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from cni.errors import TRY_AGAIN, CniError
from cni.request import AttachmentId

__all__ = ["Abort", "Locks"]

REMEMBER_NS = 150 * 10**9
"""A shim lives 110 s: after this no ADD can arrive that started before the DEL."""


class Abort:
    """Tells a running ADD that nobody wants its result any more; it looks between its steps, so none is left half done."""

    def __init__(self) -> None:
        self._reason = ""
        self._is_set = asyncio.Event()

    def set(self, reason: str) -> None:
        """Stop the ADD at its next step; the first reason counts."""
        self._reason = self._reason or reason
        self._is_set.set()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._is_set.wait()

    def check(self) -> None:
        """Raise CniError 11 when it was set."""
        if self._reason:
            raise CniError(TRY_AGAIN, f"ADD was given up: {self._reason}")


class Locks:
    """The attachments that are being worked on, and those that were deleted lately."""

    def __init__(self, deleted: Mapping[AttachmentId, int] | None = None) -> None:
        """`deleted`: when the last DELs started, in ns, as an agent before this one has heard of them."""
        self._locks: dict[AttachmentId, tuple[asyncio.Lock, int]] = {}
        self._adds: dict[AttachmentId, dict[Abort, int]] = {}
        self._deleted: dict[AttachmentId, int] = dict(deleted or {})

    @property
    def is_alone(self) -> bool:
        """True while one attachment is worked on at most."""
        return len(self._locks) < 2

    def is_held(self, attachment: AttachmentId) -> bool:
        """True while somebody works on this attachment, or waits to."""
        return attachment in self._locks

    def held(self) -> set[AttachmentId]:
        """All that somebody works on now, or waits to."""
        return set(self._locks)

    @contextlib.asynccontextmanager
    async def hold(self, attachment: AttachmentId) -> AsyncIterator[None]:
        """Nobody else works on this attachment meanwhile."""
        lock, users = self._locks.get(attachment, (asyncio.Lock(), 0))
        self._locks[attachment] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(attachment)
            if users > 1:
                self._locks[attachment] = (lock, users - 1)

    @contextlib.asynccontextmanager
    async def adding(self, attachment: AttachmentId, started_ns: int, abort: Abort) -> AsyncIterator[None]:
        """Hold it for an ADD; raises CniError 11 when a DEL that started later came first. A later DEL sets `abort`."""
        if self._deleted.get(attachment, 0) > started_ns:
            abort.set("a DEL of this attachment, started later, is already done")
        running = self._adds.setdefault(attachment, {})
        running[abort] = started_ns
        try:
            async with self.hold(attachment):
                abort.check()
                yield
        finally:
            del running[abort]
            if not running:
                self._adds.pop(attachment, None)

    @contextlib.asynccontextmanager
    async def deleting(self, attachment: AttachmentId, started_ns: int, now_ns: int) -> AsyncIterator[None]:
        """Hold it for a DEL; ADDs that started before are given up, running, waiting, or still on their way."""
        self._forget(now_ns)
        self._deleted.pop(attachment, None)  # to the end: the order is that of time
        self._deleted[attachment] = started_ns or now_ns
        for abort, add_started_ns in self._adds.get(attachment, {}).items():
            if add_started_ns < self._deleted[attachment]:
                abort.set("a DEL of the same attachment came")
        async with self.hold(attachment):
            yield

    def abort_all(self, reason: str) -> None:
        """Give up every running ADD."""
        for running in self._adds.values():
            for abort in running:
                abort.set(reason)

    def _forget(self, now_ns: int) -> None:
        for attachment in list(self._deleted):
            if self._deleted[attachment] > now_ns - REMEMBER_NS:
                break
            del self._deleted[attachment]
