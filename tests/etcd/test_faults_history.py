"""History that is gone or replaced is noticed, listed again, and told as a difference."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from romana.store.api import Delete, Event, Put
from romana.store.etcd import EtcdStore
from romana.store.etcdpb import rpc_pb2
from tests.etcd.server import EtcdServer
from tests.etcd.truth import Updates, create, create_all, eventually, names

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed")]


@pytest.fixture
async def gated_store(own_etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    """A second client of `own_etcd`, which the test can keep out."""
    store = EtcdStore([own_etcd.gate])
    yield store
    await store.close()


def told(events: tuple[Event, ...]) -> list[tuple[str, bytes | None]]:
    """Keys and values; None: deleted."""
    return [(event.key, event.value.value if event.value else None) for event in events]


async def test_compaction_past_the_watch_lists_again_with_deletions(
    own_etcd: EtcdServer, etcd_store: EtcdStore, gated_store: EtcdStore
) -> None:
    await create_all(etcd_store, ["w/kept", "w/changed", "w/deleted", "w/anew"])
    async with Updates(gated_store) as updates:
        await eventually(lambda: len(updates.seen) == 1)
        own_etcd.kill()
        own_etcd.shut_gate()
        own_etcd.start()
        await create(etcd_store, "w/new")
        await etcd_store.txn([], [Put("w/changed", b"2"), Delete("w/deleted"), Delete("w/anew")])
        last = (await etcd_store.txn([], [Put("w/anew", b"2")])).revision
        await etcd_store.compact(last)
        own_etcd.open_gate()
        await eventually(lambda: len(updates.seen) == 2)
        assert updates.seen[1].snapshot
        assert updates.seen[1].revision == last
        assert told(updates.seen[1].events) == [("w/deleted", None), ("w/anew", b"2"), ("w/changed", b"2"), ("w/new", b"")]
        await create(etcd_store, "w/after")
        await eventually(lambda: len(updates.seen) == 3)
        assert (updates.seen[2].snapshot, told(updates.seen[2].events)) == (False, [("w/after", b"")])
        assert updates.reflector.items == {item.key: item for item in (await etcd_store.list("w/")).items}


async def test_deletion_at_the_compacted_revision_is_not_lost(
    own_etcd: EtcdServer, etcd_store: EtcdStore, gated_store: EtcdStore
) -> None:
    """etcd 3.4.23 forgets it and accepts the watch all the same (etcd#18089, etcd#19179)."""
    await create(etcd_store, "w/deleted")
    async with Updates(gated_store) as updates:
        await eventually(lambda: len(updates.seen) == 1)
        own_etcd.kill()
        own_etcd.shut_gate()
        own_etcd.start()
        gone = (await etcd_store.txn([], [Delete("w/deleted")])).revision
        assert gone == updates.reflector.revision + 1
        await etcd_store.compact(gone)
        own_etcd.open_gate()
        await eventually(lambda: not updates.reflector.items)


async def test_progress_notifications_keep_an_idle_watch_ahead_of_compaction() -> None:
    with EtcdServer("--experimental-watch-progress-notify-interval=100ms") as server:
        store, other = EtcdStore([server.target]), EtcdStore([server.target])
        async with Updates(store) as updates:
            await create(other, "w/0")
            await create_all(other, names(0, 10))
            await eventually(lambda: len(updates.reflector.items) == 11)
            elsewhere = (await other.txn([], [Put("elsewhere", b"")])).revision
            await asyncio.sleep(0.5)  # several notifications
            await other.compact(elsewhere)
            server.kill()
            server.start()
            await create(other, "w/after")
            await eventually(lambda: "w/after" in updates.reflector.items)
            assert [update.snapshot for update in updates.seen].count(True) == 1
        await store.close()
        await other.close()


async def test_restored_etcd_with_lower_revisions_is_listed_again(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    await create_all(etcd_store, names(0, 20))
    async with Updates(etcd_store) as updates:
        await eventually(lambda: len(updates.seen) == 1)
        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.start()
        await create(etcd_store, "w/restored")
        await eventually(lambda: list(updates.reflector.items) == ["w/restored"])
        await create(etcd_store, "w/after")
        await eventually(lambda: "w/after" in updates.reflector.items)


async def test_restored_etcd_that_has_overtaken_us_is_listed_again(
    own_etcd: EtcdServer, etcd_store: EtcdStore, gated_store: EtcdStore
) -> None:
    """Its revisions are higher than ours, but its raft term is lower: ours has had another election."""
    await create(etcd_store, "w/older")  # once it is acknowledged, the first election's term is on the disk
    own_etcd.kill()
    own_etcd.start()
    await create(etcd_store, "w/old")
    async with Updates(gated_store) as updates:
        await eventually(lambda: len(updates.seen) == 1)
        own_etcd.kill()
        own_etcd.shut_gate()
        own_etcd.wipe()
        own_etcd.start()
        await create_all(etcd_store, names(0, 20))
        own_etcd.open_gate()
        await eventually(lambda: list(updates.reflector.items) == names(0, 20))


async def test_other_cluster_that_is_ahead_of_ours_is_listed_again(
    own_etcd: EtcdServer, etcd_store: EtcdStore, gated_store: EtcdStore
) -> None:
    """Its revisions and its raft term are higher than ours: only the cluster's id tells."""
    await create(etcd_store, "w/old")
    ours = await etcd_store.status()
    async with Updates(gated_store) as updates:
        await eventually(lambda: len(updates.seen) == 1)
        own_etcd.kill()
        own_etcd.shut_gate()
        own_etcd.wipe(cluster="another")
        for number in range(2):  # elections, each on the disk once a write is acknowledged
            own_etcd.start()
            await create(etcd_store, f"elsewhere/{number}")
            own_etcd.kill()
        own_etcd.start()
        await create_all(etcd_store, names(0, 20))
        theirs = await etcd_store.status()
        assert (ours.cluster_id != theirs.cluster_id, ours.revision < theirs.revision) == (True, True)
        own_etcd.open_gate()
        await eventually(lambda: list(updates.reflector.items) == names(0, 20))


async def test_pages_show_one_revision_whatever_is_written_between_them(etcd_store: EtcdStore, own_etcd: EtcdServer) -> None:
    class WrittenUnderIt(EtcdStore):
        """Somebody writes after each page."""

        pages = 0

        async def _range(self, what: str, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
            response = await super()._range(what, request)
            self.pages += 1
            await etcd_store.txn([], [Delete(f"w/{20 - self.pages:05}"), Put(f"w/new{self.pages}", b"")])
            return response

    await create_all(etcd_store, names(0, 20))
    store = WrittenUnderIt([own_etcd.target])
    listing = await store.list("w/", page_size=5)
    await store.close()
    assert [item.key for item in listing.items] == names(0, 20)
    assert listing.revision == listing.items[-1].mod_revision
    assert store.pages == 4


async def test_listing_that_is_compacted_between_pages_starts_again(etcd_store: EtcdStore, own_etcd: EtcdServer) -> None:
    class CompactedUnderIt(EtcdStore):
        """Loses its history after the third page."""

        pages = 0

        async def _range(self, what: str, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
            response = await super()._range(what, request)
            self.pages += 1
            if self.pages == 3:
                changed = await etcd_store.txn([], [Delete("w/00000"), Put("w/new", b"")])
                await etcd_store.compact(changed.revision)
            return response

    await create_all(etcd_store, names(0, 1000), at_once=32)
    store = CompactedUnderIt([own_etcd.target])
    listing = await store.list("w/", page_size=10)
    await store.close()
    assert [item.key for item in listing.items] == [*names(1, 999), "w/new"]
    assert store.pages == 3 + 100


async def test_reflector_started_before_etcd_waits_for_it(
    own_etcd: EtcdServer, etcd_store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    own_etcd.kill()
    hasty = EtcdStore([own_etcd.target], timeout_s=0.5)
    async with Updates(hasty) as updates:
        await eventually(lambda: "listing interrupted" in caplog.text)
        await asyncio.to_thread(own_etcd.start)
        await create(etcd_store, "w/1")
        await eventually(lambda: "w/1" in updates.reflector.items)
    await hasty.close()
    assert caplog.text.count("listing interrupted") == 1
