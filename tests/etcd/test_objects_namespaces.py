"""A namespace is deleted with all that is in it, page by page, and again after a death half-way."""

import pytest

from romana.errors import Conflict, NotFound, Refused
from romana.objects.namespaces import PAGE, delete_namespace, ensure_namespace
from romana.store.api import Op, Put, Store
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import SOURCE_KUBE, Namespace

COUNT = 2 * PAGE + 50


async def fill(store: Store, name: str, pods: int, policies: int) -> None:
    """A namespace with so many pods and policies."""
    await ensure_namespace(store, name)
    written = [f"pods/{name}/p{index:04}" for index in range(pods)]
    written += [f"policies/{name}/NetworkPolicy/p{index:04}" for index in range(policies)]
    for start in range(0, len(written), 100):
        await store.txn([], [Put(key, b"x") for key in written[start : start + 100]])


async def left(store: Store) -> list[str]:
    """The keys that are there."""
    return [item.key for item in (await store.list("")).items]


async def deletions(store: Store, revision: int) -> dict[str, int]:
    """Per top-level prefix the revision of the last event after `revision`."""
    newest: dict[str, int] = {}
    end = (await store.list("")).revision
    async for batch in store.watch("", revision + 1):
        for event in batch.events:
            newest[event.key.split("/")[0]] = event.mod_revision
        if batch.revision >= end:
            break
    return newest


async def test_it_takes_its_pods_and_policies_and_nothing_else(store: Store) -> None:
    await fill(store, "team", COUNT, COUNT)
    await fill(store, "team2", 1, 1)
    await store.txn([], [Put("endpoints/team/p0000/c", b"x")])
    before = (await store.list("")).revision
    revisions = await delete_namespace(store, "team")
    assert await left(store) == [
        "endpoints/team/p0000/c",
        "namespaces/team2",
        "pods/team2/p0000",
        "policies/team2/NetworkPolicy/p0000",
    ]
    newest = await deletions(store, before)
    assert revisions == {"pods/team/": newest["pods"], "policies/": newest["policies"], "namespaces/": newest["namespaces"]}
    assert newest["pods"] < newest["policies"] < newest["namespaces"]


async def test_an_empty_one_waits_for_namespaces_only(store: Store) -> None:
    await ensure_namespace(store, "team")
    before = (await store.list("")).revision
    assert await delete_namespace(store, "team") == {"namespaces/": before + 1}
    with pytest.raises(NotFound, match='namespaces "team" not found'):
        await delete_namespace(store, "team")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_those_of_the_system_are_never_deleted(store: Store, name: str) -> None:
    await fill(store, name, 1, 1)
    with pytest.raises(Refused, match=f'namespaces "{name}" is forbidden: this namespace may not be deleted'):
        await delete_namespace(store, name)
    assert len(await left(store)) == 3


async def test_a_mirrored_one_is_kubernetes_to_delete(store: Store) -> None:
    await store.txn([], [Put("namespaces/team", Namespace(source=SOURCE_KUBE).SerializeToString())])
    with pytest.raises(Refused, match="kubectl"):
        await delete_namespace(store, "team")


class Dying(MemoryStore):
    """A store whose client dies before its n-th transaction; `meanwhile` is written by others before each."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions_left = 10_000
        self.meanwhile: list[list[Op]] = []

    async def txn(self, compares, success, failure=()):  # type: ignore[no-untyped-def]
        if self.transactions_left == 0:
            raise KeyboardInterrupt
        self.transactions_left -= 1
        if self.meanwhile:
            self.write(self.meanwhile.pop(0))
        return await super().txn(compares, success, failure)


@pytest.mark.parametrize("transactions", range(7))
async def test_killed_anywhere_it_keeps_the_namespace_and_a_repetition_ends_it(transactions: int) -> None:
    store = Dying()
    await fill(store, "team", COUNT, COUNT)
    store.transactions_left = transactions
    with pytest.raises(KeyboardInterrupt):
        await delete_namespace(store, "team")
    assert "namespaces/team" in await left(store)
    store.transactions_left = 10_000
    await delete_namespace(store, "team")
    assert await left(store) == []


async def test_what_others_add_meanwhile_goes_too() -> None:
    store = Dying()
    await fill(store, "team", 1, 1)
    store.meanwhile = [[Put(f"pods/team/new{index}", b"x"), Put("policies/team/NetworkPolicy/p0000", b"y")] for index in range(4)]
    revisions = await delete_namespace(store, "team")
    assert await left(store) == []
    assert sorted(revisions) == ["namespaces/", "pods/team/", "policies/"]


async def test_others_who_never_stop_adding_are_a_conflict() -> None:
    store = Dying()
    await fill(store, "team", 1, 1)
    store.meanwhile = [[Put(f"pods/team/new{index}", b"x")] for index in range(10_000)]
    with pytest.raises(Conflict):
        await delete_namespace(store, "team")
    assert "namespaces/team" in await left(store)


@pytest.mark.parametrize("was_applied", [True, False])
async def test_lost_answers_are_settled_with_the_right_revisions(was_applied: bool) -> None:
    store = MemoryStore()
    await fill(store, "team", COUNT, 3)
    before = (await store.list("")).revision
    for _ in range(3):
        store.lose_next_answer(was_applied)
    revisions = await delete_namespace(store, "team")
    newest = await deletions(store, before)
    assert revisions == {"pods/team/": newest["pods"], "policies/": newest["policies"], "namespaces/": newest["namespaces"]}
    assert await left(store) == []
