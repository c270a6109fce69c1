"""A daemon gets its store only when it answers, is safe, and has a layout that the daemon reads."""

import asyncio

import pytest

from romana.errors import FatalError, Unavailable
from romana.store import schema
from romana.store.api import Put
from romana.store.memory import MemoryStore
from romana.store.opening import open_store, prepare
from romana.v1.store_pb2 import Schema


async def with_schema(major: int, minor: int) -> MemoryStore:
    """A store whose layout has this version."""
    store = MemoryStore()
    await store.txn([], [Put(schema.KEY, Schema(major=major, minor=minor).SerializeToString())])
    return store


async def test_absent_schema_is_written_by_ipamd_once() -> None:
    store = MemoryStore()
    await prepare(store, write_schema=True)
    await prepare(store, write_schema=True)
    found = await store.get(schema.KEY)
    assert found is not None
    assert found.version == 1
    assert Schema.FromString(found.value) == Schema(major=schema.MAJOR, minor=schema.MINOR)


async def test_lost_answer_to_writing_the_schema_is_settled() -> None:
    for applied in (True, False):
        store = MemoryStore()
        store.lose_next_answer(applied)
        await prepare(store, write_schema=True)
        assert await store.get(schema.KEY) is not None


async def test_others_wait_for_the_schema(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("romana.store.opening.SCHEMA_POLL_S", 0.01)
    store = MemoryStore()
    waiting = asyncio.create_task(prepare(store))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await prepare(store, write_schema=True)
    await asyncio.wait_for(waiting, 30)
    assert caplog.text.count("no schema yet") == 1


async def test_newer_minor_is_read() -> None:
    await prepare(await with_schema(1, 7))


@pytest.mark.parametrize(("major", "remedy"), [(2, "upgrade this program"), (0, "damaged")])
async def test_other_major_is_refused(major: int, remedy: str) -> None:
    with pytest.raises(FatalError, match=f"version {major}.3, this program reads 1.x: .*{remedy}"):
        await prepare(await with_schema(major, 3))


async def test_value_that_is_no_schema_is_refused() -> None:
    store = MemoryStore()
    await store.txn([], [Put(schema.KEY, b"\xff")])
    with pytest.raises(FatalError, match="holds no schema"):
        await prepare(store)


async def test_etcd_that_loses_data_is_refused() -> None:
    with pytest.raises(FatalError, match=r"etcd 3\.5\.1 is refused"):
        await prepare(MemoryStore("3.5.1"), write_schema=True)


async def test_etcd_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.fail()
    opening = asyncio.create_task(prepare(store, write_schema=True))
    await asyncio.sleep(0.2)
    assert not opening.done()
    store.mend()
    await asyncio.wait_for(opening, 30)
    assert caplog.text.count("opening the store interrupted") == 1


async def test_command_does_not_wait_for_ever() -> None:
    with pytest.raises(Unavailable, match="etcd at unix:/nonexistent gave no store"):
        await open_store(["unix:/nonexistent"], timeout_s=0.2)
