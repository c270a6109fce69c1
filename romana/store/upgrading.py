"""Upgrades the layout of the store, one major version after the other, under a lock that its holder's death opens.

    lock (leased key) ─→ convert what is below each prefix, page by page ─→ schema := next major, if nothing was written meanwhile
          │                       │ each transaction compares the lock and what it converts
          └── held by another: wait for the version to change

A killed upgrade is taken up from its last page: a step converts nothing twice. A frozen holder that comes back after its lease
has ended fails at its next transaction. An older program that still writes meanwhile delays the end of a step, and ends itself
once the version is newer than it reads (`schema.follow`).
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence

from romana.errors import Ambiguous, Conflict
from romana.store import schema
from romana.store.api import Compare, CompareField, CompareOp, Delete, KeyValue, Put, Store
from romana.store.limits import MAX_BYTES, MAX_OPS
from romana.store.schema import Layout, Standing, Step
from romana.v1.store_pb2 import Schema

__all__ = ["LOCK", "agree"]

log = logging.getLogger(__name__)

LOCK = "upgrading"
LOCK_TTL_S = 15
ATTEMPTS = 100  # of one step, against programs that write meanwhile

Ops = list[Put | Delete]


async def agree(store: Store, layout: Layout = schema.LAYOUT) -> bool:
    """Have the store in this layout: write its version where there is none, upgrade an older one.

    False: something was done, or another does it; look again. For ipamd alone. Raises FatalError for a layout that it cannot
    read; Unavailable, Ambiguous and Conflict when it may succeed later.
    """
    item = await store.get(schema.KEY)
    if item is None:
        await store.txn([Compare.absent(schema.KEY)], [Put(schema.KEY, schema.written(layout.major, layout.minor))])
        return False
    standing = schema.judge(layout, item)
    if standing is Standing.OLDER_MINOR:
        await store.txn([Compare.unchanged(item)], [Put(schema.KEY, schema.written(layout.major, layout.minor))])
        return False
    if standing is Standing.OLDER_MAJOR:
        await _upgrade(store, layout, item)
        return False
    return True


async def _upgrade(store: Store, layout: Layout, item: KeyValue) -> None:
    """Take the lock and go from version to version; without effect when another holds it."""
    lease = await store.grant_lease(LOCK_TTL_S)
    try:
        owner = uuid.uuid4().hex.encode()
        result = await store.txn([Compare.absent(LOCK), Compare.unchanged(item)], [Put(LOCK, owner, lease.id)])
        if result.succeeded:
            held = Compare.at(LOCK, result.revision)
            for major in range(Schema.FromString(item.value).major, layout.major):
                await _step(store, layout, major, held)
    finally:
        await lease.revoke()


async def _step(store: Store, layout: Layout, major: int, held: Compare) -> None:
    """From this major to the next, which is written last; raises Conflict when the lock is lost, or others write all the time."""
    minor = layout.minor if major + 1 == layout.major else 0
    step = layout.steps[major]
    for _ in range(ATTEMPTS):
        item = await store.get(schema.KEY)
        if item is None or Schema.FromString(item.value).major != major:
            return
        seen = [(prefix, await _convert(store, prefix, step, held)) for prefix in step.converts]
        compares = [held, Compare.unchanged(item)]
        compares += [Compare(prefix, CompareField.MOD, CompareOp.LESS, revision + 1, prefix=True) for prefix, revision in seen]
        try:
            result = await store.txn(compares, [Put(schema.KEY, schema.written(major + 1, minor))])
        except Ambiguous:
            continue
        if result.succeeded:
            log.warning("layout of the store upgraded", extra={"from": major, "to": f"{major + 1}.{minor}"})
            return
        await asyncio.sleep(0)
    raise Conflict(f"layout {major}.x was not upgraded: {ATTEMPTS} times something was written meanwhile; stop older programs")


async def _convert(store: Store, prefix: str, step: Step, held: Compare) -> int:
    """Convert what is below the prefix; the revision at which all of it was converted. Raises Conflict when the lock is lost."""
    while True:
        listing = await store.list(prefix)
        changes = [(item, list(ops)) for item in listing.items if (ops := step.converts[prefix](item))]
        if not changes:
            return listing.revision
        for page in _pages(changes):
            await _write(store, page, held)


def _pages(changes: Sequence[tuple[KeyValue, Ops]]) -> list[list[tuple[KeyValue, Ops]]]:
    """As many changes as a transaction takes, in order."""
    pages: list[list[tuple[KeyValue, Ops]]] = [[]]
    count = size = 0
    for item, ops in changes:
        more = sum(len(op.key) + (len(op.value) if isinstance(op, Put) else 0) for op in ops)
        if pages[-1] and (count + len(ops) > MAX_OPS or len(pages[-1]) + 1 >= MAX_OPS or size + more > MAX_BYTES // 2):
            pages.append([])
            count = size = 0
        pages[-1].append((item, ops))
        count, size = count + len(ops), size + more
    return pages


async def _write(store: Store, page: Sequence[tuple[KeyValue, Ops]], held: Compare) -> None:
    compares = [held, *(Compare.unchanged(item) for item, _ in page)]
    try:
        result = await store.txn(compares, [op for _, ops in page for op in ops])
    except Ambiguous:
        return  # it is listed anew, and converted again where it was not
    if not result.succeeded:
        lock = await store.get(LOCK)
        if lock is None or lock.mod_revision != held.operand:
            raise Conflict("the lock of the upgrade is lost; another ipamd goes on with it")
