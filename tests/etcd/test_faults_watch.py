"""A watch loses nothing and repeats nothing, whatever happens to etcd. Each test is a row of the fault table in ADR 0001."""

import asyncio

import pytest

from romana.store.api import Put
from romana.store.etcd import EtcdStore
from tests.etcd.server import EtcdServer
from tests.etcd.truth import LAST, create, create_all, eventually, names, watch_until_last

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed")]


async def test_watch_survives_kill_and_restart_without_loss_or_repeat(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    await kill_under_a_watch(own_etcd, etcd_store)


async def test_watch_with_frequent_progress_notifications_survives_kill_without_loss_or_repeat() -> None:
    with EtcdServer("--experimental-watch-progress-notify-interval=10ms") as server:
        store = EtcdStore([server.target])
        await kill_under_a_watch(server, store)
        await store.close()


async def kill_under_a_watch(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    """400 keys are written; etcd dies after 150 of them and is back soon."""
    start = (await etcd_store.status()).revision + 1
    watching = asyncio.create_task(watch_until_last(etcd_store, start))
    await create_all(etcd_store, names(0, 150))
    own_etcd.kill()
    writing = asyncio.create_task(create_all(etcd_store, [*names(150, 250), LAST]))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_etcd.start)
    await writing
    assert [event.key for event in await watching] == [*names(0, 400), LAST]


async def test_kill_during_catch_up_loses_and_repeats_nothing(
    own_etcd: EtcdServer, etcd_store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    start = (await etcd_store.status()).revision + 1
    for first in range(0, 20_000, 200):  # 50 revisions at once, of 4 keys each
        fours = [[Put(key, bytes(300)) for key in names(four, 4)] for four in range(first, first + 200, 4)]
        await asyncio.gather(*(etcd_store.txn([], puts) for puts in fours))
    await create(etcd_store, LAST)
    killed: list[int] = []

    def kill_once(seen: int) -> None:
        if not killed:
            killed.append(seen)
            own_etcd.kill()
            own_etcd.start()

    seen = await watch_until_last(etcd_store, start, kill_once)
    assert killed[0] < 20_000
    assert "watch interrupted" in caplog.text
    assert len(seen) == 20_001
    assert {event.key for event in seen} == {*names(0, 20_000), LAST}
    assert [event.mod_revision for event in seen] == sorted(event.mod_revision for event in seen)


async def test_ten_megabytes_of_history_arrive(etcd_store: EtcdStore) -> None:
    start = (await etcd_store.status()).revision + 1
    for key in [*names(0, 10), LAST]:
        await create(etcd_store, key, bytes(990_000))
    seen = await watch_until_last(etcd_store, start)
    assert [(event.key, event.value and len(event.value.value)) for event in seen] == [
        (key, 990_000) for key in [*names(0, 10), LAST]
    ]
    assert len((await etcd_store.list("w/")).items) == 11


async def test_fragments_of_large_revisions_are_joined(etcd_store: EtcdStore) -> None:
    start = (await etcd_store.status()).revision + 1
    for first in range(0, 500, 100):
        await etcd_store.txn([], [Put(key, bytes(9000)) for key in names(first, 100)])
    await create(etcd_store, LAST)
    revisions = []
    async for batch in etcd_store.watch("w/", start):
        revisions += sorted({event.mod_revision for event in batch.events})
        if batch.events[-1].key == LAST:
            break
    assert revisions == list(range(start, start + 6))


async def test_watch_on_a_frozen_etcd_goes_on_with_nothing_missing(
    own_etcd: EtcdServer, etcd_store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    start = (await etcd_store.status()).revision + 1
    watching = asyncio.create_task(watch_until_last(etcd_store, start))
    await create_all(etcd_store, names(0, 50))
    own_etcd.freeze()
    await eventually(lambda: "watch interrupted" in caplog.text)
    await asyncio.sleep(7)  # attempts to connect anew run into the frozen server too, and end after 5 s
    own_etcd.thaw()
    await create_all(etcd_store, [*names(50, 50), LAST])
    assert [event.key for event in await watching] == [*names(0, 100), LAST]


async def test_outage_is_said_once_and_its_end_once(
    own_etcd: EtcdServer, etcd_store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    start, counts = (await etcd_store.status()).revision + 1, list[int]()
    watching = asyncio.create_task(watch_until_last(etcd_store, start, counts.append))
    await create(etcd_store, "w/1")
    await eventually(lambda: counts == [1])
    own_etcd.kill()
    await eventually(lambda: "watch interrupted" in caplog.text)
    await asyncio.sleep(2)  # several attempts fail
    own_etcd.start()
    await create(etcd_store, LAST)
    await watching
    assert [record.message for record in caplog.records if "watch" in record.message] == [
        "watch interrupted, will retry",
        "watch resumed",
    ]


async def test_next_endpoint_serves_when_the_first_is_away(own_etcd: EtcdServer) -> None:
    store = EtcdStore([f"unix:{own_etcd.directory}/nobody", own_etcd.target])
    start = (await store.status()).revision + 1
    await store.txn([], [Put(LAST, b"")])
    assert [event.key for event in await watch_until_last(store, start)] == [LAST]
    await store.close()


async def test_write_goes_to_the_next_endpoint_only_when_the_first_surely_did_not_take_it(own_etcd: EtcdServer) -> None:
    store = EtcdStore([f"unix:{own_etcd.directory}/nobody", own_etcd.target])
    assert (await store.txn([], [Put("a", b"")])).succeeded
    await store.close()
