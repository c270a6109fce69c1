"""Keeps the journal of released addresses from growing: what is too old or too much goes, oldest first. See `ipam.holdings`.

Each transaction deletes a range of the oldest page and reads the next one, and only while the first key that it deletes stands as
it was read. As everybody deletes oldest first, that holds only while nobody else has pruned: two ipamd at once never delete more
than one would, and one count of the records is good for a whole round. A record that comes late into the range is older than its
end: it goes with it.
"""

from collections.abc import Callable

from ipam.holdings import KEPT_RECORDS, run_of, surplus
from romana import keys
from romana.errors import Ambiguous
from romana.store.api import Compare, Delete, Get, Store

__all__ = ["Journal"]

PAGE = 1000  # records that are read and deleted at a time: some 250 KB, and a pause of a few ms for etcd
ROUND = 6  # transactions; then others get their turn


class Journal:
    """`now_ms` is the wall clock, milliseconds since 1970; `most` is how many records are kept."""

    def __init__(self, store: Store, now_ms: Callable[[], int], most: int = KEPT_RECORDS) -> None:
        self._store = store
        self._now_ms = now_ms
        self._most = most

    async def prune(self) -> tuple[int, bool]:
        """How many records went, and whether more have to. Right to repeat; raises Unavailable."""
        read = Get(keys.JOURNAL, prefix=True, limit=PAGE)
        page = (await self._store.txn([], [read])).gets[0]
        # Counted after the page was read: the compare below then holds only if nobody has pruned since this count.
        excess = await self._store.count(keys.JOURNAL) - self._most
        gone = 0
        for _ in range(ROUND):
            going = run_of([item.key for item in page], surplus([item.key for item in page], excess, self._now_ms()))
            if not going:
                return gone, False
            first = next(item for item in page if item.key == going[0])
            after_last = going[-1] + "\0"
            try:
                result = await self._store.txn([Compare.unchanged(first)], [Delete(first.key, until=after_last), read])
            except Ambiguous:
                return gone, True  # the next round sees what there is
            if not result.succeeded:
                return gone, True  # another ipamd prunes
            gone, excess, page = gone + len(going), excess - len(going), result.gets[0]
        return gone, True
