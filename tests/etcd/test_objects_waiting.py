"""Waiting for receipts: who is waited for, for how long, and who is named."""

import asyncio
from contextlib import suppress

import pytest

from romana.objects.waiting import Waited, behind, concerned, wait_until_enforced
from romana.store.api import Delete, Lease, Put, Store
from romana.v1.store_pb2 import Receipt

LONG_S = 30.0
SHORT_S = 0.2


async def acknowledge(store: Store, node: str, daemon: str = "policyd", lease: Lease | None = None, **applied: int) -> None:
    """Write a node's receipt; `pods_default=3` stands for `pods/default/`."""
    receipt = Receipt(applied={f"{name.replace('_', '/')}/": revision for name, revision in applied.items()})
    await store.txn([], [Put(f"receipts/{node}/{daemon}", receipt.SerializeToString(), lease.id if lease else 0)])


RECEIPTS = {
    "all": {"policies/": 5, "pods/": 5},
    "some": {"policies/": 5, "pods/default/": 4, "pods/team/": 9},
    "late": {"policies/": 4},
    "new": {},
}


@pytest.mark.parametrize(
    ("prefix", "revision", "watching", "late"),
    [
        ("policies/", 5, {"all", "some", "late"}, {"late"}),
        ("policies/", 6, {"all", "some", "late"}, {"all", "some", "late"}),
        ("policies/", 0, {"all", "some", "late"}, set()),
        ("pods/default/", 5, {"all", "some"}, {"some"}),
        ("pods/team/", 6, {"all", "some"}, {"all"}),
        ("pods/defaul/", 9, {"all"}, {"all"}),
        ("namespaces/", 1, set(), set()),
    ],
)
def test_nodes_are_behind_that_watch_it_and_have_not_got_there(
    prefix: str, revision: int, watching: set[str], late: set[str]
) -> None:
    assert set(concerned(RECEIPTS, prefix)) == watching
    assert set(behind(RECEIPTS, prefix, revision)) == late


async def test_without_a_live_node_there_is_nothing_to_wait_for(store: Store) -> None:
    await acknowledge(store, "n1", daemon="routed", policies=1)
    waited = await wait_until_enforced(store, {"policies/": 5}, LONG_S)
    assert (waited, waited.done) == (Waited(()), True)


async def test_nodes_that_are_there_already_are_not_waited_for(store: Store) -> None:
    await acknowledge(store, "n1", policies=5)
    await acknowledge(store, "n2", policies=7)
    await acknowledge(store, "elsewhere", pods_team=7)
    assert await wait_until_enforced(store, {"policies/": 5, "pods/default/": 9}, LONG_S) == Waited(("n1", "n2"))


async def test_it_returns_when_the_last_node_gets_there(store: Store) -> None:
    await acknowledge(store, "n1", policies=4, pods_default=9)
    await acknowledge(store, "n2", policies=4)
    task = asyncio.create_task(wait_until_enforced(store, {"policies/": 5, "pods/default/": 8}, LONG_S))
    for node, reached in (("n1", 5), ("n2", 4), ("n2", 6)):
        await asyncio.sleep(0.05)
        assert not task.done()
        await acknowledge(store, node, policies=reached, pods_default=9)
    assert await asyncio.wait_for(task, LONG_S) == Waited(("n1", "n2"))


async def test_nodes_behind_at_the_timeout_are_named(store: Store) -> None:
    await acknowledge(store, "n1", policies=5)
    await acknowledge(store, "n2", policies=4)
    waited = await wait_until_enforced(store, {"policies/": 5}, SHORT_S)
    assert (waited, waited.done) == (Waited(("n1",), behind=("n2",)), False)


async def test_a_node_whose_receipt_goes_away_before_it_got_there_is_silent(store: Store) -> None:
    lease = await store.grant_lease(60)
    await acknowledge(store, "n1", lease=lease, policies=4)
    await acknowledge(store, "n2", policies=5)
    task = asyncio.create_task(wait_until_enforced(store, {"policies/": 5}, SHORT_S * 3))
    await asyncio.sleep(SHORT_S)
    await lease.revoke()
    assert await task == Waited(("n2",), silent=("n1",))


async def test_a_node_that_is_gone_after_it_got_there_counts(store: Store) -> None:
    await acknowledge(store, "n1", policies=4)
    await acknowledge(store, "n2", policies=4)
    task = asyncio.create_task(wait_until_enforced(store, {"policies/": 5}, LONG_S))
    await asyncio.sleep(0.05)
    await acknowledge(store, "n1", policies=5)
    await store.txn([], [Delete("receipts/n1/policyd")])
    await asyncio.sleep(0.05)
    await acknowledge(store, "n2", policies=5)
    assert await asyncio.wait_for(task, LONG_S) == Waited(("n1", "n2"))


async def test_a_daemon_that_starts_again_is_waited_for(store: Store) -> None:
    await acknowledge(store, "n1", policies=4)
    task = asyncio.create_task(wait_until_enforced(store, {"policies/": 5}, LONG_S))
    await asyncio.sleep(0.05)
    await store.txn([], [Delete("receipts/n1/policyd")])
    await asyncio.sleep(0.05)
    assert not task.done()
    await acknowledge(store, "n1", policies=5)
    assert await asyncio.wait_for(task, LONG_S) == Waited(("n1",))


async def test_a_node_that_no_longer_watches_it_is_not_waited_for(store: Store) -> None:
    await acknowledge(store, "n1", policies=5, pods_default=4)
    task = asyncio.create_task(wait_until_enforced(store, {"pods/default/": 5}, LONG_S))
    await asyncio.sleep(0.05)
    await acknowledge(store, "n1", policies=5)
    assert await asyncio.wait_for(task, LONG_S) == Waited(())


async def test_a_wait_that_is_given_up_leaves_no_watch_behind(store: Store) -> None:
    await acknowledge(store, "n1", policies=4)
    task = asyncio.create_task(wait_until_enforced(store, {"policies/": 5}, LONG_S))
    await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
