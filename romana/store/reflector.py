"""A watched copy of everything below a prefix: list, then watch; and when the history is gone, list again and say what changed.

list --> Update(snapshot) --> watch(revision + 1) --> Update, Update, ...
  ^                                   | Compacted
  +-----------------------------------+   the difference, deletions made up for what is no longer there
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from romana.store.api import Event, KeyValue, Listing, Store
from romana.store.following import follow

__all__ = ["Reflector", "Update"]


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

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Every change, after it is in `items`; never ends, and raises nothing that waiting can mend.

        Stop it by cancelling the task, or by closing it (`contextlib.aclosing`)."""
        async with aclosing(follow(self._store, self.prefix)) as heard:
            async for each in heard:
                if isinstance(each, Listing):
                    yield self._replace(each)
                else:
                    yield self._take(each.revision, each.events, snapshot=False)

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
