"""Keeps the journal of released addresses from growing: what is too old or too much goes, oldest first. See `ipam.holdings`.

Each transaction deletes from the oldest page and reads the next one, and only while the first key that it deletes stands as it
was read. As everybody deletes oldest first, that holds only while nobody else has pruned: two ipamd at once never delete more
than one would, and one count of the records is good for a whole round.
"""

from collections.abc import Callable

from ipam.holdings import KEPT_RECORDS, surplus
from romana import keys
from romana.errors import Ambiguous
from romana.store.api import Compare, Delete, Get, Store

__all__ = ["Journal"]

PAGE = 120  # of the 128 operations that etcd takes in a transaction
ROUND = 50  # transactions; then others get their turn


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
            going = surplus([item.key for item in page], excess, self._now_ms())
            if not going:
                return gone, False
            first = next(item for item in page if item.key == going[0])
            try:
                result = await self._store.txn([Compare.unchanged(first)], [*(Delete(key) for key in going), read])
            except Ambiguous:
                return gone, True  # the next round sees what there is
            if not result.succeeded:
                return gone, True  # another ipamd prunes
            gone, excess, page = gone + len(going), excess - len(going), result.gets[0]
        return gone, True
