"""A watched copy of everything below a prefix: list, then watch; and when the history is gone, list again and say what changed.

list --> Update(snapshot) --> watch(revision + 1) --> Update, Update, ...
  ^                                   | Compacted
  +-----------------------------------+   the difference, deletions made up for what is no longer there
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from romana.errors import Compacted, Unavailable
from romana.store.api import Event, KeyValue, Listing, Store
from romana.store.backoff import Outage

__all__ = ["Reflector", "Update"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """What changed, when the copy has just taken it in."""

    snapshot: bool
    """True for a listing: the first one, and each one after lost history. The copy is whole from the first one on."""
    revision: int
    """The store's revision that the copy now has."""
    events: tuple[Event, ...]
    """Whole revisions, in order; for a snapshot the difference to the copy before it, which may be none at all."""


class Reflector:
    """Keeps `items` equal to the store's keys below `prefix`; empty until the first update. One task may iterate `updates`."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = prefix
        self.items: dict[str, KeyValue] = {}
        self.revision = 0
        self._store = store
        self._outage = Outage(log, "listing", prefix=prefix)

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Every change, after it is in `items`; never ends, and raises nothing that waiting can mend.

        Stop it by cancelling the task, or by closing it (`contextlib.aclosing`)."""
        while True:
            try:
                listing = await self._store.list(self.prefix)
                self._outage.over()
                yield self._replace(listing)
                async with aclosing(self._store.watch(self.prefix, self.revision + 1)) as batches:
                    async for batch in batches:
                        yield self._take(batch.revision, batch.events, snapshot=False)
            except Compacted as err:
                log.info("history is gone, listing again", extra={"prefix": self.prefix, "error": str(err)})
            except Unavailable as err:
                await asyncio.sleep(self._outage.failed(err))

    def _replace(self, listing: Listing) -> Update:
        """Make the copy equal to a listing."""
        return self._take(listing.revision, tuple(_difference(self.items, listing)), snapshot=True)

    def _take(self, revision: int, events: tuple[Event, ...], snapshot: bool) -> Update:
        for event in events:
            if event.value is None:
                self.items.pop(event.key, None)
            else:
                self.items[event.key] = event.value
        self.revision = revision
        return Update(snapshot, revision, events)


def _difference(old: dict[str, KeyValue], listing: Listing) -> Iterator[Event]:
    """The events that turn `old` into the listing: deletions first (at the listing's revision), then what is new or other."""
    listed = {item.key for item in listing.items}
    for key in old:
        if key not in listed:
            yield Event(key, listing.revision, None)
    for item in listing.items:
        if old.get(item.key) != item:
            yield Event(item.key, item.mod_revision, item)
