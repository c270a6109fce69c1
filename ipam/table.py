"""The keys below one prefix of the store, decoded, as we last heard them.

    watch (Reflector) ──┐
    own transactions ───┼─→ Table: rows by key; `changed(old, new)` tells whoever keeps an index
    read-backs ─────────┘

What is heard late never undoes what is known: what was written at or below `revision`, or below a row's own mod_revision, is
ignored; an answer of ours may come after the watch has told of it, and of its end.
Only a snapshot of the watch replaces everything, backwards too: that is an etcd restored from a backup.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from romana.errors import InvalidInput
from romana.store.api import Event, KeyValue, Listing

__all__ = ["Row", "Table"]

log = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Row(Generic[Value]):
    """A decoded key and the revisions that a transaction compares."""

    key: str
    value: Value
    create_revision: int
    mod_revision: int


class Table(Generic[Value]):
    """See the module's docstring. `changed` is called after each change with the row before and after (None: absent)."""

    def __init__(
        self, decode: Callable[[KeyValue], Value], changed: Callable[[Row[Value] | None, Row[Value] | None], None]
    ) -> None:
        self.rows: dict[str, Row[Value]] = {}
        self.revision = 0
        """Every change up to this revision is in `rows`; later ones of our own may be."""
        self.whole = False
        """True from the first snapshot on."""
        self._decode = decode
        self._changed = changed
        self._removed: dict[str, int] = {}

    def replace(self, items: Iterable[KeyValue], revision: int) -> None:
        """Take a snapshot of the watch: exactly these keys, whatever was known."""
        found = {item.key: item for item in items}
        for key in [key for key in self.rows if key not in found]:
            self._set(key, None)
        for item in found.values():
            row = self.rows.get(item.key)
            if row is None or (row.create_revision, row.mod_revision) != (item.create_revision, item.mod_revision):
                self._set(item.key, item)
        self._removed.clear()
        self.revision = revision
        self.whole = True

    def refresh(self, listing: Listing) -> None:
        """Take a listing of our own, made because the watch may lag; without effect when the table is further already."""
        if listing.revision > self.revision:
            newer = [row for row in self.rows.values() if row.mod_revision > listing.revision]
            listed = {item.key for item in listing.items}
            for key in self.rows.keys() - listed - {row.key for row in newer}:
                self._set(key, None)
            for item in listing.items:
                self._take(item)
            self.revision = listing.revision

    def follow(self, events: Iterable[Event], revision: int) -> None:
        """Take the events of the watch up to `revision`."""
        for event in events:
            if event.mod_revision <= self.revision:
                continue
            if event.value is None:
                self.remove(event.key, event.mod_revision)
            else:
                self._take(event.value)
        self.revision = max(self.revision, revision)
        self._removed = {key: removed for key, removed in self._removed.items() if removed > self.revision}

    def complete_to(self, revision: int) -> None:
        """Take that nothing else changed up to this revision: a transaction of ours compared it."""
        self.revision = max(self.revision, revision)

    def put(self, item: KeyValue, value: Value | None = None) -> None:
        """Take one key as it was read, or as we wrote it; without effect where it is known to have changed or gone since.

        `value` is what its bytes mean, where the caller has that.
        """
        if item.mod_revision > self.revision:
            self._take(item, value)

    def _take(self, item: KeyValue, value: Value | None = None) -> None:
        row = self.rows.get(item.key)
        known = row.mod_revision if row else self._removed.get(item.key, 0)
        if item.mod_revision > known:
            self._set(item.key, item, value)

    def remove(self, key: str, revision: int) -> None:
        """Take that the key was absent at this revision."""
        row = self.rows.get(key)
        if row is None or row.mod_revision < revision:
            self._removed[key] = max(revision, self._removed.get(key, 0))
            self._set(key, None)

    def _set(self, key: str, item: KeyValue | None, value: Value | None = None) -> None:
        old = self.rows.pop(key, None)
        new = self._row(item, value) if item is not None else None
        if new is not None:
            self.rows[key] = new
        if old is not None or new is not None:
            self._changed(old, new)

    def _row(self, item: KeyValue, value: Value | None) -> Row[Value] | None:
        if value is not None:
            return Row(item.key, value, item.create_revision, item.mod_revision)
        try:
            return Row(item.key, self._decode(item), item.create_revision, item.mod_revision)
        except InvalidInput as err:
            log.warning("key in the store is none of ours, ignored", extra={"key": item.key, "error": str(err)})
            return None
