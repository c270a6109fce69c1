"""The reflector's copy equals the store, whatever happens in whatever order."""

import asyncio
import itertools
from contextlib import aclosing
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romana.store.api import Delete, KeyValue, Put
from romana.store.memory import MemoryStore
from romana.store.reflector import Reflector, Update


async def settle(store: MemoryStore, reflector: Reflector) -> None:
    """Let the reflector run until its copy equals the store; nothing but turns of the loop is waited for."""
    for _ in range(1000):
        if reflector.items == {item.key: item for item in (await store.list(reflector.prefix)).items}:
            return
    pytest.fail(f"the copy has {sorted(reflector.items)}, the store {[item.key for item in (await store.list('w/')).items]}")


async def next_update(updates: "asyncio.Queue[Update]") -> Update:
    """The next update, or TimeoutError."""
    return await asyncio.wait_for(updates.get(), 30)


async def run(reflector: Reflector, updates: "asyncio.Queue[Update]") -> None:
    """Put what the reflector says into a queue."""
    async with aclosing(reflector.updates()) as said:
        async for update in said:
            updates.put_nowait(update)


async def stop(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])


async def test_first_update_is_the_whole_listing() -> None:
    store = MemoryStore()
    await store.txn([], [Put("w/a", b"1"), Put("x", b"2")])
    reflector = Reflector(store, "w/")
    async with aclosing(reflector.updates()) as updates:
        update = await anext(updates)
    assert (update.snapshot, [event.key for event in update.events]) == (True, ["w/a"])
    assert list(reflector.items) == ["w/a"]


async def test_first_update_of_an_empty_store_comes_too() -> None:
    async with aclosing(Reflector(MemoryStore(), "w/").updates()) as updates:
        assert await anext(updates) == Update(snapshot=True, revision=1, events=())


async def test_outage_is_said_once_and_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store, updates = MemoryStore(), asyncio.Queue[Update]()
    store.fail()
    task = asyncio.create_task(run(Reflector(store, ""), updates))
    await asyncio.sleep(0.3)
    store.mend()
    assert (await next_update(updates)).snapshot
    await stop(task)
    said = [record.message for record in caplog.records if record.name.startswith("romana")]
    assert said == ["listing interrupted, will retry", "listing resumed"]


async def test_restored_store_is_told_as_a_difference() -> None:
    store, updates = MemoryStore(), asyncio.Queue[Update]()
    await store.txn([], [Put("kept", b"1"), Put("lost", b"1")])
    task = asyncio.create_task(run(Reflector(store, ""), updates))
    await next_update(updates)
    store.restore({"kept": b"1", "new": b"2"})
    update = await next_update(updates)
    await stop(task)
    assert update.snapshot
    assert [(event.key, event.value is None) for event in update.events] == [("lost", True), ("new", False)]


async def test_restored_store_that_has_overtaken_the_watch_is_listed_again() -> None:
    store, updates = MemoryStore(), asyncio.Queue[Update]()
    await store.txn([], [Put("lost", b"1")])
    task = asyncio.create_task(run(Reflector(store, ""), updates))
    await next_update(updates)
    store.restore({f"k{number}": b"" for number in range(9)})
    update = await next_update(updates)
    await stop(task)
    assert update.snapshot
    assert update.events[0].key == "lost"


KEYS = st.sampled_from(["w/a", "w/b", "w/c", "w/d/e", "x/f"])
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("clear"), st.sampled_from(["w/", "w/d", "x"])),
    st.tuples(st.sampled_from(["compact", "fail", "mend", "restore", "settle", "pause"]), st.just("")),
)


async def step(store: MemoryStore, reflector: Reflector, name: str, key: str, number: int) -> None:
    """One thing that happens. Writes go through while the reflector is cut off: other clients may reach the store."""
    match name:
        case "put":
            store.write([Put(key, str(number).encode())])
        case "delete":
            store.write([Delete(key)])
        case "clear":
            store.write([Delete(key, prefix=True)])
        case "compact":
            store.forget()
        case "fail":
            store.fail()
        case "mend":
            store.mend()
        case "restore":
            store.restore({"w/a": b"old", "w/z": b"old"})
        case "settle":
            store.mend()
            await settle(store, reflector)
        case _:
            await asyncio.sleep(0)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_copy_equals_the_store_after_any_sequence(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        reflector, updates = Reflector(store, "w/"), asyncio.Queue[Update]()
        task = asyncio.create_task(run(reflector, updates))
        for number, (name, key) in enumerate(steps):
            await step(store, reflector, name, key, number)
        store.mend()
        await settle(store, reflector)
        await stop(task)
        replayed: dict[str, KeyValue] = {}
        while not updates.empty():
            for event in updates.get_nowait().events:
                if event.value is None:
                    del replayed[event.key]  # KeyError: told twice
                else:
                    replayed[event.key] = event.value
        assert replayed == reflector.items

    with mock.patch("romana.store.backoff.pauses", return_value=itertools.repeat(0.0)):
        asyncio.run(scenario())
