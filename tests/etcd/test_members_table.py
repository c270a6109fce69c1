"""Rows F3, F7, F8, F9 and F11 of the fault table, on three members; the others are in `test_members`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from random import Random

import pytest

from romana.errors import Compacted, Unavailable
from romana.store.api import Put, Store
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore
from tests.etcd.cluster import EtcdCluster
from tests.etcd.operator import enable_authentication
from tests.etcd.trial import Trial, repeated
from tests.etcd.truth import DEADLINE_S, LAST, create, eventually, names, watch_until_last

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed"), pytest.mark.timeout(300)]

Record = Callable[[str, object], None]


@pytest.fixture
def cluster(etcd_installed: None) -> Iterator[EtcdCluster]:
    """Three members."""
    with EtcdCluster() as made:
        yield made


def drawn(seed: int) -> Random:
    """Timing and sizes of one repetition."""
    return Random(seed)  # noqa: S311 - no secret


async def start_of(store: Store) -> int:
    """The revision from which a watch sees all that is written from now on."""
    return (await store.list("w/")).revision + 1


@repeated
async def test_f3_watch_from_a_compacted_revision_says_so(cluster: EtcdCluster, seed: int) -> None:
    async with Trial(cluster, seed) as trial:
        first = await start_of(trial.writer)
        await trial.write(50, pause_s=0)
        compacted = trial.random.randrange(first + 1, first + 50)
        await trial.writer.compact(compacted)
        with pytest.raises(Compacted):
            async with aclosing(trial.watcher.watch("w/", trial.random.randrange(first, compacted))) as watch:
                await anext(watch)
        async with aclosing(trial.watcher.watch("w/", compacted + 1)) as watch:
            await create(trial.writer, LAST)
            assert (await anext(watch)).events[0].mod_revision == compacted + 1


@repeated
async def test_f7_member_in_use_is_killed_during_catch_up(cluster: EtcdCluster, seed: int) -> None:
    random = drawn(seed)
    in_use = random.randrange(3)
    store = EtcdStore(cluster.targets_from(in_use))
    start = await start_of(store)
    for first in range(0, 20_000, 200):  # 50 revisions at once, of 4 keys each
        fours = [[Put(key, bytes(300)) for key in names(four, 4)] for four in range(first, first + 200, 4)]
        await asyncio.gather(*(store.txn([], puts) for puts in fours))
    await create(store, LAST)
    least, killed = random.randrange(12_000), list[int]()

    def kill_once(seen: int) -> None:
        if seen > least and not killed:
            killed.append(seen)
            cluster.members[in_use].kill()

    seen = await watch_until_last(store, start, kill_once)
    await store.close()
    assert killed[0] < 20_000
    assert sorted(event.key for event in seen) == [*names(0, 20_000), LAST]
    assert [event.mod_revision for event in seen] == sorted(event.mod_revision for event in seen)


@repeated
async def test_f8_ten_megabytes_of_history_in_the_first_responses(cluster: EtcdCluster, seed: int) -> None:
    random = drawn(seed)
    store = EtcdStore(cluster.targets_from(random.randrange(3)), timeout_s=60)
    start = await start_of(store)
    sizes = [random.randrange(900_000, 990_000) for _ in range(11)]
    for key, size in zip(names(0, 11), sizes, strict=True):
        await create(store, key, bytes(size))
    await create(store, LAST)
    seen = await watch_until_last(store, start)
    await store.close()
    assert [(event.key, len(event.value.value)) for event in seen if event.value] == [
        *zip(names(0, 11), sizes, strict=True),
        (LAST, 0),
    ]


@repeated
async def test_f9_member_in_use_restarts_and_has_forgotten_its_tokens(
    cluster: EtcdCluster, seed: int, record_property: Record, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret")
    enable_authentication(cluster.members[0])
    credentials = Credentials(user="romana", password_file=str(tmp_path / "password"))
    async with Trial(cluster, seed, credentials=credentials) as trial:
        writing = asyncio.create_task(trial.write(300))
        for member in (trial.in_use, (trial.in_use + 1) % 3):
            await trial.pause(0.0, 1.0)
            cluster.members[member].kill()
            await trial.pause(0.0, 1.0)
            await asyncio.to_thread(cluster.start)
        await writing
        await trial.settled(record_property)


async def test_frozen_member_costs_a_log_in_one_attempt_of_however_many_calls(cluster: EtcdCluster, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    enable_authentication(cluster.members[0])
    credentials = Credentials(user="romana", password_file=str(tmp_path / "password"))
    store = EtcdStore(cluster.targets, timeout_s=60, credentials=credentials)
    with cluster.frozen(0):
        async with asyncio.timeout(45):  # one after the other they would need 60 s and more
            reads = asyncio.gather(*(store.get("a") for _ in range(30)))
            assert (await store.txn([], [Put("b", b"")])).succeeded
            await reads
    await store.close()


@repeated
async def test_f11_lease_is_lost_with_the_quorum_and_stays_lost(cluster: EtcdCluster, seed: int) -> None:
    random = drawn(seed)
    in_use = random.randrange(3)
    store = EtcdStore(cluster.targets_from(in_use))
    lease = await store.grant_lease(10)  # long enough for a busy machine to keep it
    await store.txn([], [Put("leased", b"", lease.id)])
    await asyncio.sleep(random.uniform(0, 4))
    assert not lease.lost
    for number in (1, 2):
        cluster.members[(in_use + number) % 3].kill()
    await eventually(lambda: lease.lost)
    await asyncio.to_thread(cluster.start)
    await gone(store, "leased")
    await store.close()
    assert lease.lost


async def gone(store: Store, key: str) -> None:
    """Wait until a key is not there."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                if await store.get(key) is None:
                    return
            except Unavailable:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_lease_is_kept_alive_by_another_member(cluster: EtcdCluster) -> None:
    store = EtcdStore(cluster.targets)
    lease = await store.grant_lease(10)
    cluster.members[0].kill()
    await asyncio.sleep(lease.ttl_s + 1)
    assert not lease.lost
    await lease.revoke()
    await store.close()
