"""What a failed write means, and what a lease is worth while etcd is away."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from romana.errors import Ambiguous, Unavailable
from romana.store.api import Put
from romana.store.etcd import EtcdStore
from tests.etcd.server import EtcdServer
from tests.etcd.truth import DEADLINE_S, create, eventually

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed")]


@contextlib.contextmanager
def frozen(server: EtcdServer) -> Iterator[None]:
    """etcd does not answer inside."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


async def test_write_without_an_answer_is_ambiguous(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    hasty = EtcdStore([own_etcd.target], timeout_s=1)
    await create(hasty, "before")
    with frozen(own_etcd), pytest.raises(Ambiguous, match="DEADLINE_EXCEEDED"):
        await hasty.txn([], [Put("a", b"")])
    await hasty.close()
    await create(etcd_store, "a")
    found = await etcd_store.get("a")
    assert found is not None
    assert found.version == 1


async def test_write_on_a_connection_that_breaks_is_ambiguous(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    await etcd_store.txn([], [Put("before", b"")])
    own_etcd.freeze()
    writing = asyncio.create_task(etcd_store.txn([], [Put("a", b"")]))
    await asyncio.sleep(0.3)
    own_etcd.kill()
    with pytest.raises(Ambiguous):
        await writing


async def test_refused_connection_is_unavailable_and_nothing_is_written(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    await etcd_store.status()
    own_etcd.kill()
    await asyncio.sleep(0.3)
    with pytest.raises(Unavailable, match="failed to connect"):
        await etcd_store.txn([], [Put("a", b"")])
    own_etcd.start()
    assert await etcd_store.get("a") is None


async def test_read_is_retried_until_etcd_is_back(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    await create(etcd_store, "a")
    own_etcd.kill()
    patient = EtcdStore([own_etcd.target], timeout_s=60)
    reading = asyncio.create_task(patient.get("a"))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_etcd.start)
    assert await reading is not None
    await patient.close()


async def fill(store: EtcdStore) -> None:
    """Write until etcd's database is full, which etcd notices only when it next commits to disk."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await store.txn([], [Put("k", bytes(900_000))])


async def test_full_database_refuses_writes_as_unavailable_and_says_so() -> None:
    with EtcdServer("--quota-backend-bytes=4194304") as server:
        store = EtcdStore([server.target])
        with pytest.raises(Unavailable, match="database space exceeded"):
            await fill(store)
        assert any("NOSPACE" in problem for problem in (await store.status()).problems)
        assert await store.get("k") is not None
        await store.close()


async def test_lease_outlives_its_ttl_while_it_is_kept_alive(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    lease = await etcd_store.grant_lease(2)
    await etcd_store.txn([], [Put("leased", b"", lease.id)])
    await asyncio.sleep(2.5 * lease.ttl_s)
    assert not lease.lost
    assert await etcd_store.get("leased") is not None


async def test_lease_that_somebody_else_ended_is_noticed(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    lease = await etcd_store.grant_lease(2)
    other = EtcdStore([own_etcd.target])
    await other._revoke(lease.id)
    await other.close()
    await eventually(lambda: lease.lost)


async def test_lease_is_lost_when_etcd_cannot_be_asked_for_a_whole_ttl(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    lease = await etcd_store.grant_lease(2)
    assert not lease.lost
    with frozen(own_etcd):
        await eventually(lambda: lease.lost)
    await etcd_store.status()
    assert lease.lost


async def test_lease_survives_a_restart_of_etcd(own_etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    lease = await etcd_store.grant_lease(30)
    await etcd_store.txn([], [Put("leased", b"", lease.id)])
    own_etcd.kill()
    own_etcd.start()
    await create(etcd_store, "after")
    assert await etcd_store._renew(lease.id) > 0
    assert not lease.lost
    await lease.revoke()
    assert await etcd_store.get("leased") is None
