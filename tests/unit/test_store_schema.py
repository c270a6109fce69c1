"""The layout's version: newer majors are refused, older ones upgraded under a lock, whoever dies in the middle."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from romana import keys
from romana.cli.store import message_of
from romana.errors import Conflict, FatalError, RomanaError, Unavailable
from romana.store import schema
from romana.store.api import Compare, Delete, KeyValue, Op, Put, TxnResult
from romana.store.memory import MemoryStore
from romana.store.opening import prepare
from romana.store.schema import Layout, Step
from romana.store.upgrading import LOCK, agree
from romana.v1.store_pb2 import Schema

LAYOUTS = Path(__file__).parent.parent / "fixtures" / "layouts"
KEYS = 300


def upper(item: KeyValue) -> Sequence[Put | Delete]:
    """1 to 2, made up: values become upper case; right to repeat."""
    return [Put(item.key, item.value.upper())] if item.value != item.value.upper() else []


def moved(item: KeyValue) -> Sequence[Put | Delete]:
    """2 to 3, made up: keys move below another prefix."""
    return [Delete(item.key), Put(item.key.replace("old/", "new/"), item.value)]


STEPS = {1: Step({"old/": upper}), 2: Step({"old/": moved})}
THREE = Layout(3, 4, STEPS)
TWO = Layout(2, 0, {1: STEPS[1]})


async def filled(major: int = 1, minor: int = 0, count: int = KEYS) -> MemoryStore:
    """A store of the made up layout 1."""
    store = MemoryStore()
    await store.txn([], [Put(schema.KEY, schema.written(major, minor))])
    for number in range(count):
        await store.txn([], [Put(f"old/{number:04}", f"value {number}".encode())])
    return store


async def contents(store: MemoryStore) -> dict[str, bytes]:
    return {item.key: item.value for item in (await store.list("")).items}


WANTED = {f"new/{number:04}": f"VALUE {number}".encode() for number in range(KEYS)} | {schema.KEY: schema.written(3, 4)}


async def agreed(store: MemoryStore, layout: Layout = THREE) -> None:
    """As `prepare` does for ipamd: again, after what waiting mends."""
    async with asyncio.timeout(60):
        while True:
            try:
                if await agree(store, layout):
                    return
            except (Unavailable, Conflict):
                pass
            await asyncio.sleep(0)


async def test_two_majors_back_are_upgraded_one_after_the_other() -> None:
    store = await filled()
    await agreed(store)
    assert await contents(store) == WANTED


async def test_a_second_look_writes_nothing() -> None:
    store = await filled()
    await agreed(store)
    before = (await store.list("")).revision
    assert await agree(store, THREE)
    assert (await store.list("")).revision == before


async def test_several_at_once_upgrade_once() -> None:
    store = await filled()
    await asyncio.gather(*(agreed(store) for _ in range(4)))
    assert await contents(store) == WANTED


@pytest.mark.parametrize("layout", [Layout(2, 0), Layout(1, 9), Layout(3, 0, {2: STEPS[2]})])
async def test_a_newer_major_is_refused_and_left_alone(layout: Layout) -> None:
    store = await filled(major=4)
    before = await contents(store)
    with pytest.raises(FatalError, match=rf"version 4\.0, this program reads {layout.major}\.x: upgrade this program"):
        await agree(store, layout)
    assert await contents(store) == before


async def test_three_majors_back_are_refused_with_the_way_out() -> None:
    store = await filled(major=1)
    with pytest.raises(FatalError, match=r"version 1\.0, .* upgrade by way of a version that reads 3\.x"):
        await agree(store, Layout(4, 0, {2: STEPS[2], 3: STEPS[2]}))


async def test_a_newer_minor_is_read_and_an_older_one_is_raised() -> None:
    newer, older = await filled(3, 7), await filled(3, 1)
    assert await agree(newer, THREE)
    await agreed(older)
    assert (await contents(newer))[schema.KEY] == schema.written(3, 7)
    assert (await contents(older))[schema.KEY] == schema.written(3, 4)


class Dying(MemoryStore):
    """What a process does to a store that is killed at its nth transaction, before or after that is applied."""

    def __init__(self, store: MemoryStore, at: int, *, applied: bool) -> None:
        super().__init__()
        self._inner, self._at, self._applied, self._dead = store, at, applied, False

    async def _alive(self) -> None:
        if self._dead:
            raise Unavailable("killed")

    async def get(self, key: str) -> KeyValue | None:
        await self._alive()
        return await self._inner.get(key)

    async def list(self, prefix: str, page_size: int = 500) -> Any:
        await self._alive()
        return await self._inner.list(prefix, page_size)

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        await self._alive()
        self._at -= 1
        self._dead = self._at < 0
        if self._dead and not self._applied:
            raise Unavailable("killed")
        result = await self._inner.txn(compares, success, failure)
        if self._dead:
            raise Unavailable("killed")
        return result

    async def grant_lease(self, ttl_s: int) -> Any:
        await self._alive()
        return _Orphaned(await self._inner.grant_lease(ttl_s), self)


class _Orphaned:
    """Its process cannot revoke it any more."""

    def __init__(self, lease: Any, owner: Dying) -> None:
        self._lease, self._owner, self.id, self.ttl_s, self.lost = lease, owner, lease.id, lease.ttl_s, False

    async def revoke(self) -> None:
        if not self._owner._dead:
            await self._lease.revoke()


@pytest.mark.parametrize("applied", [False, True])
async def test_an_upgrade_that_is_killed_at_any_transaction_is_finished_by_the_next(applied: bool) -> None:
    at = 0
    while True:
        store = await filled(count=KEYS)
        dying = Dying(store, at, applied=applied)
        try:
            while not await agree(dying, THREE):
                pass
            break  # there are no more transactions to be killed at
        except RomanaError:
            pass
        lock = await store.get(LOCK)
        if lock is not None:
            done = (await contents(store))[schema.KEY] == WANTED[schema.KEY]
            assert await agree(store, THREE) is done  # the dead one's lock holds, until its lease ends
            store.expire_lease(lock.lease)
        await agreed(store)
        assert await contents(store) == WANTED
        at += 1
    assert at >= 8


async def test_a_holder_that_lost_its_lock_writes_nothing_more() -> None:
    """It was frozen; another has taken over, or may at any moment."""
    store = await filled(count=200)
    frozen = _Frozen(store)
    with pytest.raises(Conflict, match="lock of the upgrade is lost"):
        await agree(frozen, TWO)
    assert (await contents(store))[schema.KEY] == schema.written(1, 0)
    await agreed(store, TWO)
    assert set((await contents(store)).values()) == {schema.written(2, 0), *(f"VALUE {number}".encode() for number in range(200))}


class _Frozen(Dying):
    """Its lease ends after its second transaction."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, 10**6, applied=True)
        self._count = 0

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        self._count += 1
        if self._count == 3 and (lock := await self._inner.get(LOCK)):
            self._inner.expire_lease(lock.lease)
        return await super().txn(compares, success, failure)


async def test_what_an_older_program_writes_meanwhile_is_converted_too() -> None:
    store = await filled(count=50)
    late = Dying(store, 10**6, applied=True)
    count = 0
    inner = late.txn

    async def txn(compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        nonlocal count
        count += 1
        if count == 3:
            await store.txn([], [Put("old/late", b"late")])
        return await inner(compares, success, failure)

    late.txn = txn  # type: ignore[method-assign]  # a program beside it
    while not await agree(late, TWO):
        pass
    assert (await contents(store))["old/late"] == b"LATE"


async def test_others_wait_while_it_is_upgraded_and_end_when_it_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("romana.store.opening.SCHEMA_POLL_S", 0.01)
    monkeypatch.setattr(schema, "LAYOUT", TWO)
    store = await filled(count=5)
    waiting = asyncio.create_task(prepare(store))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await prepare(store, write_schema=True)
    await agreed(store, TWO)
    await asyncio.wait_for(waiting, 60)
    running = schema.follow(store, TWO)
    await anext(running)
    await agreed(store, THREE)
    with pytest.raises(FatalError, match="upgrade this program"):
        await asyncio.wait_for(_exhaust(running), 60)


async def _exhaust(running: AsyncIterator[None]) -> None:
    async for _ in running:
        pass


@pytest.mark.parametrize("path", sorted(LAYOUTS.glob("*.json")), ids=lambda path: path.stem)
def test_what_a_released_layout_wrote_is_read_as_it_was_meant(path: Path) -> None:
    """The fixture has every kind of key, as bytes, and what they meant then; a field that moves fails here."""
    entries = json.loads(path.read_text())["keys"]
    for entry in entries:
        message = message_of(entry["key"], bytes.fromhex(entry["value"]))
        assert json_format.MessageToDict(message) == entry["means"], entry["key"]
        assert message.SerializeToString(deterministic=True).hex() == entry["value"], entry["key"]
    kinds = {entry["key"].split("/")[0] for entry in entries}
    assert kinds >= {keys.SCHEMA, keys.TOPOLOGY, "nodes", "blocks", "addresses", "attachments", "endpoints", "pods", "namespaces"}
    assert kinds >= {"policies", "receipts", "journal"}


def test_every_version_that_can_be_upgraded_has_its_fixture() -> None:
    majors = {Schema.FromString(_schema_of(path)).major for path in LAYOUTS.glob("*.json")}
    oldest = max(1, schema.MAJOR - schema.READABLE)
    assert majors >= set(range(oldest, schema.MAJOR + 1))
    assert set(schema.LAYOUT.steps) == set(range(oldest, schema.MAJOR))


def _schema_of(path: Path) -> bytes:
    entries = json.loads(path.read_text())["keys"]
    return bytes.fromhex(next(entry["value"] for entry in entries if entry["key"] == keys.SCHEMA))
