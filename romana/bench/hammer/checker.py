"""Follows etcd by one watch, judges every revision, and everything now and then; compares answers with what happened in etcd.

It knows nothing of who asks for what: answers come as (key, revision, addresses), and wait until the watch is that far.
"""

import asyncio
import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from itertools import count, groupby

from romana import keys
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.picture import Changes, Picture
from romana.bench.hammer.states import judge_all, judge_touched
from romana.bench.hammer.transitions import Transitions
from romana.errors import Compacted, RomanaError, Unavailable
from romana.store.api import Event, Listing, Store

__all__ = ["Checker"]

WHOLE_S = 10.0
BEHIND_S = 120.0  # how long the watch may take to come to where a listing was: etcd may be without a quorum meanwhile
RETRY_S = 0.2
BREATH = 50  # revisions judged in one go
GONE_MAX = 50_000  # attachments that are remembered after their end; answers of calls come within seconds
COMPARED = (keys.TOPOLOGY, keys.NODES, keys.BLOCKS, keys.RESERVATIONS, keys.ADDRESSES, keys.ATTACHMENTS, keys.ENDPOINTS)
"""All but the journal, which only grows: each of its records is judged when it comes."""

Addresses = tuple[str, ...] | None
"""Of an answered allocation; None: of a release."""


class Checker:
    """`found` hears of every contradiction, as often as it is seen."""

    def __init__(self, store: Store, found: Callable[[Finding], None]) -> None:
        self.picture = Picture()
        self.revisions = 0
        """How many were judged, one by one."""
        self.missed = 0
        """How many were compacted before they were seen."""
        self.wholes = 0
        self.answers = 0
        """How many were compared with what etcd says."""
        self._store = store
        self._found = found
        self._transitions = Transitions()
        self._gone: OrderedDict[tuple[str, int], tuple[str, ...]] = OrderedDict()
        self._waiting: list[tuple[int, int, str, Addresses]] = []
        self._numbers = count()
        self._gaps: list[tuple[int, int]] = []

    async def run(self) -> None:
        """Follow and judge until cancelled."""
        tasks = [asyncio.create_task(self.follow()), asyncio.create_task(self._now_and_then())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def answered(self, key: str, revision: int, addresses: Addresses) -> None:
        """Take an answer: since that revision the attachment has these addresses, or was released by then (None)."""
        heapq.heappush(self._waiting, (revision, next(self._numbers), key, addresses))
        self._compare_answers()

    async def follow(self) -> None:
        """Judge every revision from now on, and what is there already as a whole, until cancelled."""
        while True:
            try:
                self._take_listing(await self._store.list(""))
                async with aclosing(self._store.watch("", self.picture.revision + 1)) as batches:
                    async for batch in batches:
                        await self._take_events(batch.events)
            except Compacted:
                continue
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    async def whole(self) -> None:
        """Compare the picture with listings, and judge all of it. Raises Unavailable."""
        self.picture.forget_removed()
        for prefix in COMPARED:
            await self._compare(prefix, await self._store.list(prefix))
        self._tell(judge_all(self.picture))
        self.wholes += 1

    async def reached(self, revision: int) -> bool:
        """Wait until that revision was judged; False when it takes too long."""
        deadline = time.monotonic() + BEHIND_S
        while self.picture.revision < revision and time.monotonic() < deadline:  # noqa: ASYNC110 - read like this everywhere
            await asyncio.sleep(0.02)
        return self.picture.revision >= revision

    async def _now_and_then(self) -> None:
        while True:
            await asyncio.sleep(WHOLE_S)
            try:
                await self.whole()
            except Unavailable:
                continue  # no quorum: there is nothing to compare with

    def _take_listing(self, listing: Listing) -> None:
        """Take what is there; what happened since the last revision seen is not known one by one."""
        last, listed = self.picture.revision, {item.key for item in listing.items}
        gone = [Event(key, listing.revision, None) for key in self.picture.written if key not in listed]
        events = (Event(item.key, item.mod_revision, item) for item in listing.items if item.mod_revision > last)
        self.picture.take(listing.revision, [*gone, *events])
        self._transitions.missed(self.picture)
        if last and listing.revision > last:
            self._gaps.append((last, listing.revision))
            self.missed += listing.revision - last
        self._tell(judge_all(self.picture))
        self._compare_answers()

    async def _take_events(self, events: Iterable[Event]) -> None:
        for revision, group in groupby(events, key=lambda event: event.mod_revision):
            try:
                changes = self.picture.take(revision, group)
            except RomanaError as err:
                self._found(Finding("I10", f"a key cannot be read: {err}", (), revision))
                continue
            self._remember(changes)
            self._tell(self._transitions.judge(self.picture, changes, time.time_ns() // 1_000_000))
            self._tell(judge_touched(self.picture, changes))
            self._compare_answers()
            self.revisions += 1
            if self.revisions % BREATH == 0:
                await asyncio.sleep(0)

    def _remember(self, changes: Changes) -> None:
        for change in changes.attachments:
            if change.before:
                addresses = tuple(str(assigned.ip) for assigned in change.before.addresses)
                self._gone[change.key, change.since] = addresses
        while len(self._gone) > GONE_MAX:
            self._gone.popitem(last=False)

    def _compare_answers(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.picture.revision:
            revision, _, key, addresses = heapq.heappop(self._waiting)
            if any(low < revision <= high for low, high in self._gaps):
                continue
            self.answers += 1
            if addresses is None:
                self._compare_release(key, revision)
            else:
                self._compare_allocation(key, revision, addresses)

    def _compare_release(self, key: str, revision: int) -> None:
        if key in self.picture.attachments and self.picture.written[key] <= revision:
            self._found(
                Finding("I2", f"{key} was answered to be released at revision {revision}, and is there", (key,), revision)
            )

    def _compare_allocation(self, key: str, revision: int, addresses: tuple[str, ...]) -> None:
        stored = self._gone.get((key, revision))
        if self.picture.written.get(key) == revision and (record := self.picture.attachments.get(key)):
            stored = tuple(str(assigned.ip) for assigned in record.addresses)
        if stored != addresses:
            text = f"{key} was answered {addresses} at revision {revision}, and etcd had {stored or 'nothing'} there"
            self._found(Finding("I2", text, (key,), revision))

    async def _compare(self, prefix: str, listing: Listing) -> None:
        if not await self.reached(listing.revision):
            text = f"the watch is at {self.picture.revision}, a listing was at {listing.revision} {BEHIND_S:g} s ago"
            self._found(Finding("I14", text, (), listing.revision))
            return
        written, listed = self.picture.written, {item.key: item.mod_revision for item in listing.items}
        followed = {key: at for key, at in written.items() if key.startswith(prefix) and at <= listing.revision}
        for key in followed.keys() | listed.keys():
            newer = max(written.get(key, 0), self.picture.removed.get(key, 0)) > listing.revision
            if followed.get(key) != listed.get(key) and not newer:
                text = f"{key} was written at {listed.get(key, 'no revision')} by a listing, {followed.get(key)} by the watch"
                self._found(Finding("I14", text, (key,), listing.revision))

    def _tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._found(finding)
