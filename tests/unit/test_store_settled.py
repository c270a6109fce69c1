"""A daemon of a node does not act on a restored store before its recovery is over."""

from collections.abc import Mapping

import pytest

from romana import keys
from romana.errors import Unavailable
from romana.store.api import Delete, Put
from romana.store.memory import MemoryStore
from romana.store.settled import PATIENCE_S, Settled
from romana.v1.store_pb2 import History, Restored

CLUSTER = 1  # of a MemoryStore


class World:
    """A store, a clock, and a sync that counts."""

    def __init__(self) -> None:
        self.store, self.now_s, self.syncs = MemoryStore(), 0.0, 0
        self.sync = Settled(self.store, lambda: self.now_s).guard(self._sync)

    async def _sync(self) -> Mapping[str, object] | None:
        self.syncs += 1
        return None

    def history(self, name: str, *former: str, cluster_id: int = CLUSTER) -> bytes:
        return History(id=name, cluster_id=cluster_id, former=former).SerializeToString()

    async def put(self, key: str, value: bytes) -> None:
        await self.store.txn([], [Put(key, value)])

    async def held(self, why: str) -> None:
        before = self.syncs
        with pytest.raises(Unavailable, match=why):
            await self.sync()
        assert self.syncs == before


async def test_a_store_that_never_was_restored_is_acted_on() -> None:
    world = World()
    await world.sync()  # a new one
    await world.put(keys.HISTORY, world.history("h1"))
    await world.sync()
    assert world.syncs == 2


async def test_a_restored_store_is_acted_on_when_a_recovery_has_begun_and_ended() -> None:
    world = World()
    await world.put(keys.HISTORY, world.history("h1"))
    await world.sync()
    world.store.restore({keys.HISTORY: world.history("h1")})
    await world.held("ipamd has not noticed it yet")
    await world.put(keys.HISTORY, world.history("h2", "h1"))
    await world.put(keys.RESTORED, Restored().SerializeToString())
    await world.held("nodes have not all re-asserted")
    await world.store.txn([], [Delete(keys.RESTORED)])
    await world.sync()
    await world.sync()
    assert world.syncs == 3


async def test_a_daemon_that_starts_in_a_recovery_waits_for_its_end() -> None:
    world = World()
    await world.put(keys.HISTORY, world.history("h2", "h1"))
    await world.put(keys.RESTORED, Restored().SerializeToString())
    await world.held("nodes have not all re-asserted")


async def test_contents_of_another_cluster_are_not_acted_on_by_a_daemon_that_has_just_started() -> None:
    world = World()
    await world.put(keys.HISTORY, world.history("h1", cluster_id=CLUSTER + 1))
    await world.held("ipamd has not noticed it yet")


async def test_an_emptied_store_is_not_acted_on() -> None:
    world = World()
    await world.put(keys.HISTORY, world.history("h1"))
    await world.sync()
    world.store.restore({})
    await world.held("ipamd has not noticed it yet")
    await world.put(keys.HISTORY, world.history("fresh"))  # an ipamd that remembers nothing wrote it; it will hear of h1
    await world.held("ipamd has not noticed it yet")


async def test_a_history_that_nobody_else_finds_wrong_is_believed_at_last() -> None:
    world = World()
    await world.put(keys.HISTORY, world.history("h1"))
    await world.sync()
    world.store.restore({keys.HISTORY: world.history("h1")})
    await world.held("ipamd has not noticed it yet")
    world.now_s += PATIENCE_S + 1
    await world.sync()
    assert world.syncs == 2
