"""Single writes and deletions of objects: compared with what was read, settled by reading back when the answer is lost.

Each tells the mod_revision that nodes acknowledge in their receipts; of a deletion it is the revision of that event.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from romana import keys
from romana.errors import Ambiguous, Compacted, Conflict, NotFound, Refused, Unavailable
from romana.store.api import Compare, CompareField, CompareOp, Delete, Get, KeyValue, Put, Store

__all__ = ["ATTEMPTS", "Action", "Written", "deletion_revision", "exists", "namespace_missing", "remove", "write"]

ATTEMPTS = 5
HISTORY_TIMEOUT_S = 10.0


class Action(StrEnum):
    """What became of an object, in kubectl's words."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did; `revision` is the object's mod_revision, whoever wrote it last, or that of its deletion."""

    action: Action
    revision: int
    value: bytes = b""
    """What is stored now."""


def exists(key: str) -> Compare:
    """Holds when the key is there."""
    return Compare(key, CompareField.CREATE, CompareOp.GREATER, 0)


def namespace_missing(name: str) -> Refused:
    """The API's words for an object of a namespace that does not exist."""
    return Refused(f'namespaces "{name}" not found')


async def write(store: Store, key: str, value_over: Callable[[KeyValue | None], bytes], namespace: str = "") -> Written:
    """Put what `value_over` makes of the present state, unless that is there already; with `namespace`, only while it exists."""
    lost: Ambiguous | None = None
    for _ in range(ATTEMPTS):
        current = await store.get(key)
        value = value_over(current)
        if current and current.value == value:
            return Written(Action.UNCHANGED, current.mod_revision, value)
        action = Action.CONFIGURED if current else Action.CREATED
        compares = [Compare.unchanged(current) if current else Compare.absent(key)]
        place = [keys.namespace(namespace)] if namespace else []
        try:
            result = await store.txn([*compares, *map(exists, place)], [Put(key, value)], [Get(name) for name in place])
        except Ambiguous as err:
            lost = err
            found = await store.get(key)
            if found and found.value == value:
                return Written(action, found.mod_revision, value)
            continue
        if result.succeeded:
            return Written(action, result.revision, value)
        if result.gets and not result.gets[0]:
            raise namespace_missing(namespace)
    raise lost or Conflict(f"{key} is being changed by somebody else again and again")


async def remove(
    store: Store, key: str, not_found: str, check: Callable[[KeyValue], None], *, only_if: Sequence[Compare] = ()
) -> Written:
    """Delete a key that `check` does not raise for; raises NotFound in the words given, Conflict when `only_if` does not hold."""
    lost: Ambiguous | None = None
    current = await store.get(key)
    for _ in range(ATTEMPTS):
        if current is None:
            raise NotFound(not_found)
        check(current)
        try:
            result = await store.txn([Compare.unchanged(current), *only_if], [Delete(key)], [Get(key)])
        except Ambiguous as err:
            lost = err
            found = await store.get(key)
            if found is None:
                return Written(Action.DELETED, await deletion_revision(store, current))
            current = found
            continue
        if result.succeeded:
            return Written(Action.DELETED, result.revision)
        found = next(iter(result.gets[0]), None)
        if found == current:
            raise Conflict(f"{key} cannot be deleted yet")
        current = found
    raise lost or Conflict(f"{key} is being changed by somebody else again and again")


async def deletion_revision(store: Store, item: KeyValue) -> int:
    """When a key that was as `item` was deleted, by the store's history: for deletions whose answer was lost."""
    try:
        async with asyncio.timeout(HISTORY_TIMEOUT_S), aclosing(store.watch(item.key, item.mod_revision + 1)) as batches:
            async for batch in batches:
                for event in batch.events:
                    if event.key == item.key and event.value is None:
                        return event.mod_revision
    except (Compacted, TimeoutError, Unavailable) as err:
        raise Ambiguous(f"{item.key} is deleted, but since which revision is not known: {err}") from err
    raise Unavailable(f"{item.key} is deleted, but the store was closed before it told since when")
