"""Several members of etcd, and what happens to them: nothing missing, nothing twice, no silence. See the table in ADR 0006."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from romana.errors import Unavailable
from romana.store.api import Put
from romana.store.etcd import EtcdStore
from tests.etcd.cluster import EtcdCluster
from tests.etcd.operator import etcdctl
from tests.etcd.server import EtcdServer
from tests.etcd.trial import SILENCE_MAX_S, Trial, repeated
from tests.etcd.truth import Updates, create, eventually

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed"), pytest.mark.timeout(300)]

Record = Callable[[str, object], None]


@pytest.fixture
def cluster(etcd_installed: None) -> Iterator[EtcdCluster]:
    """Three members."""
    with EtcdCluster() as made:
        yield made


@repeated
async def test_member_in_use_is_killed_and_stays_down(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    async with Trial(cluster, seed) as trial:
        writing = asyncio.create_task(trial.write(300))
        await trial.pause(0.1, 1.0)
        cluster.members[trial.in_use].kill()
        await writing
        await trial.write(100)
        await trial.settled(record_property)


@repeated
async def test_member_in_use_is_killed_and_comes_back(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    async with Trial(cluster, seed) as trial:
        writing = asyncio.create_task(trial.write(400))
        await trial.pause(0.1, 1.0)
        cluster.members[trial.in_use].kill()
        await trial.pause(0.0, 3.0)
        await asyncio.to_thread(cluster.start)
        await writing
        await trial.settled(record_property)


@repeated
async def test_member_in_use_freezes_and_another_one_is_watched_within_ten_seconds(
    cluster: EtcdCluster, seed: int, record_property: Record, caplog: pytest.LogCaptureFixture
) -> None:
    async with Trial(cluster, seed) as trial:
        await trial.write(50)
        with cluster.frozen(trial.in_use):
            writing = asyncio.create_task(trial.write(100))
            await eventually(lambda: "watch interrupted" in caplog.text)
            await writing
            await trial.settled(record_property)  # while it is frozen still


async def test_frozen_member_costs_a_read_one_attempt_and_not_its_whole_deadline(cluster: EtcdCluster) -> None:
    store = EtcdStore(cluster.targets, timeout_s=60)
    await create(store, "a")
    with cluster.frozen(0):
        assert await asyncio.wait_for(store.get("a"), 30) is not None
    await store.close()


@repeated
async def test_two_of_three_die_and_come_back(
    cluster: EtcdCluster, seed: int, record_property: Record, caplog: pytest.LogCaptureFixture
) -> None:
    async with Trial(cluster, seed) as trial:
        await trial.write(50)
        for number in (0, 1, 2):
            if number != trial.in_use:
                cluster.members[number].kill()
        writing = asyncio.create_task(trial.write(100))
        await eventually(lambda: "watch interrupted" in caplog.text)  # the one that is left has no leader, and says so
        await trial.pause(0.0, 5.0)
        await asyncio.to_thread(cluster.start)
        await writing
        await trial.settled(record_property)


@repeated
async def test_member_that_was_away_while_history_was_compacted(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    """The watch cannot be resumed there: what happened meanwhile is told by a listing."""
    async with Trial(cluster, seed, only=True, lists=True) as trial:
        await trial.write(100)
        await eventually(lambda: len(trial.events) == 100)
        cluster.members[trial.in_use].kill()
        await trial.write(250)
        await trial.writer.compact((await trial.writer.list("w/")).revision)
        await trial.pause(0.0, 1.0)
        await asyncio.to_thread(cluster.start)
        await trial.settled(record_property)
        assert trial.snapshots == 2


@repeated
async def test_lagging_member_repeats_nothing_that_was_seen_elsewhere(
    cluster: EtcdCluster, seed: int, record_property: Record
) -> None:
    """The next member was frozen for a while and is behind when the watch comes to it (etcd#20221)."""
    async with Trial(cluster, seed) as trial:
        behind = (trial.in_use + 1) % 3
        cluster.members[behind].freeze()
        await trial.write(300)
        cluster.members[trial.in_use].freeze()
        cluster.members[behind].thaw()
        await trial.pause(0.0, 0.5)
        writing = asyncio.create_task(trial.write(50))
        await writing
        cluster.members[trial.in_use].thaw()
        await trial.settled(record_property)


@repeated
async def test_leader_changes_in_a_storm_of_writes(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    async with Trial(cluster, seed) as trial:
        writing = asyncio.create_task(trial.write(3000, pause_s=0, at_once=8))
        for _ in range(3):
            await trial.pause(0.2, 0.8)
            leader = await leading(trial.writer, cluster)
            with cluster.frozen(leader):
                await trial.pause(1.5, 3.0)  # longer than the election's timeout
        await writing
        await trial.settled(record_property)


async def leading(store: EtcdStore, cluster: EtcdCluster) -> int:
    """Which member leads; asked of each for itself."""
    for number, target in enumerate(cluster.targets):
        alone = EtcdStore([target], timeout_s=2)
        try:
            status = await alone.status()
        except Unavailable:
            continue
        finally:
            await alone.close()
        if status.leader == status.member_id:
            return number
    return 0


@repeated
async def test_compaction_under_lists_and_watches(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    """Up to the very last revision, so that a watch which is a little behind has to list again."""
    async with Trial(cluster, seed, lists=True) as trial:
        writing = asyncio.create_task(trial.write(1500, pause_s=0, at_once=4))
        lists = 0
        while not writing.done():
            listing = await trial.writer.list("w/", page_size=50)
            await trial.writer.compact(listing.revision)
            assert [item.key for item in listing.items] == sorted({item.key for item in listing.items})
            lists += 1
        await writing
        await trial.settled(record_property)
        record_property("listings", trial.snapshots)
        assert lists > 1


@contextmanager
def slow_disk(member: EtcdServer, delay_us: int) -> Iterator[None]:
    """Each fdatasync takes so much longer inside; strace(1) delays them."""
    inject = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:delay_enter={delay_us}"]
    tracer = subprocess.Popen(["strace", *inject, "-p", str(member.pid)])
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait()


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on the PATH: ./dev test installs it as root")
@repeated
async def test_slow_disk_of_the_member_in_use(cluster: EtcdCluster, seed: int, record_property: Record) -> None:
    async with Trial(cluster, seed) as trial:
        with slow_disk(cluster.members[trial.in_use], delay_us=int(trial.some(100_000, 500_000))):
            await trial.write(25)
        await trial.write(100)
        await trial.settled(record_property)


@pytest.mark.skipif(shutil.which("etcdctl") is None, reason="no etcdctl on the PATH: ./dev test installs it as root")
@repeated
async def test_full_database_refuses_writes_until_the_alarm_is_lifted(seed: int) -> None:
    with EtcdServer("--quota-backend-bytes=4194304") as server:
        store = EtcdStore([server.target])
        await create(store, "before")
        with pytest.raises(Unavailable, match=r"database space exceeded; compact and defragment etcd, then disarm its alarm"):
            await fill(store, 500_000 + seed)
        async with Updates(store) as updates:
            assert await store.get("before") is not None
            await eventually(lambda: updates.reflector.revision > 0)
            await store.compact((await store.list("")).revision)
            etcdctl(server, "defrag")
            etcdctl(server, "alarm", "disarm")
            await create(store, "w/after")
            await eventually(lambda: "w/after" in updates.reflector.items)
        await store.close()


async def fill(store: EtcdStore, size: int) -> None:
    """Write so many bytes again and again; etcd notices that its database is full only when it next commits to disk."""
    for number in range(1000):
        await store.txn([], [Put(f"k{number % 3}", bytes(size))])


def test_ten_seconds_are_the_longest_silence() -> None:
    """What the keepalive's options add up to (romana/store/endpoints.py)."""
    from romana.store.endpoints import OPTIONS

    options = dict(OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] < SILENCE_MAX_S * 1000
