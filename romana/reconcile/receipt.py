"""A daemon's receipt in the store: what it has put into the kernel. Leased, so it goes with its writer.

Written at once when something is reported, then at most twice a second (docs/architecture.md, "Receipts and waiting"); the loop
that paces and retries it is the same that paces and retries syncs.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from romana.errors import NotFound, RomanaError
from romana.reconcile.loop import Pace, Source, run
from romana.store.api import Lease, Put, Store
from romana.v1.store_pb2 import Problem, Receipt

__all__ = ["LEASE_TTL_S", "ReceiptWriter", "Report"]

log = logging.getLogger(__name__)

LEASE_TTL_S = 15  # a dead node stops counting after this; kept alive at a third of it
PROBLEMS_MAX = 20  # a receipt stays some kilobytes, however much is wrong
REVOKE_TIMEOUT_S = 2.0  # at the end, for a store that does not answer: the lease ends by itself


@dataclass(frozen=True, slots=True)
class Report:
    """What is in the kernel now: per watched prefix the revision of its last event, and what is wrong, as (id, text)."""

    applied: Mapping[str, int]
    problems: tuple[tuple[str, str], ...] = ()


class ReceiptWriter:
    """Keeps one receipt key as last reported, under a lease of its own that is made again when it is lost."""

    def __init__(self, store: Store, key: str, backend: str, pace: Pace | None = None) -> None:
        self._store = store
        self._key = key
        self._backend = backend
        self._pace = pace or Pace(resync_s=LEASE_TTL_S / 3, rest_s=0.5)
        self._reported = asyncio.Event()
        self._wanted: Receipt | None = None
        self._written: Receipt | None = None
        self._lease: Lease | None = None

    def report(self, report: Report) -> None:
        """Take a report; the last one wins. `since` is when its revisions became what they are."""
        applied = dict(report.applied)
        since = Timestamp()
        since.FromDatetime(datetime.now(UTC))
        if self._wanted is not None and dict(self._wanted.applied) == applied:
            since = self._wanted.since
        self._wanted = Receipt(applied=applied, since=since, backend=self._backend, problems=_problems(report.problems))
        self._reported.set()

    async def run(self) -> None:
        """Write what is reported until cancelled, then end the lease, and the receipt with it."""
        try:
            await run("receipt", [Source("report", self._reports)], self._write, self._pace)
        finally:
            await self._revoke()

    async def _reports(self) -> AsyncIterator[None]:
        while True:
            await self._reported.wait()
            self._reported.clear()
            yield

    async def _write(self) -> None:
        if self._lease is None or self._lease.lost:
            self._written = None
            self._lease = await self._store.grant_lease(LEASE_TTL_S)
        wanted = self._wanted
        if wanted is None or wanted == self._written:
            return
        try:
            await self._store.txn([], [Put(self._key, wanted.SerializeToString(deterministic=True), self._lease.id)])
        except NotFound:
            self._lease = None  # it ended in between
            raise
        self._written = wanted

    async def _revoke(self) -> None:
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                await self._lease.revoke()
        except (RomanaError, TimeoutError) as err:
            log.warning("lease not revoked, it will run out", extra={"key": self._key, "error": str(err)})


def _problems(found: Iterable[tuple[str, str]]) -> list[Problem]:
    problems = [Problem(id=name, text=text) for name, text in found]
    if len(problems) <= PROBLEMS_MAX:
        return problems
    return [*problems[:PROBLEMS_MAX], Problem(id="more-problems", text=f"{len(problems) - PROBLEMS_MAX} more problems")]
