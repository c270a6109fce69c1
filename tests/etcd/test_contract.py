"""What every store does, held against memory and a real etcd alike."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from romana.errors import Compacted, InvalidInput, NotFound, Unavailable
from romana.store.api import Batch, Compare, CompareField, CompareOp, Delete, Get, Op, Put, Store


async def put(store: Store, *keys: str, value: bytes = b"v") -> int:
    """Put keys in one transaction; its revision."""
    return (await store.txn([], [Put(key, value) for key in keys])).revision


async def taken(store: Store, prefix: str, revision: int, count: int) -> list[Batch]:
    """The first batches of a watch, until they hold `count` events."""
    batches: list[Batch] = []
    async with aclosing(store.watch(prefix, revision)) as watch, asyncio.timeout(30):
        async for batch in watch:
            batches.append(batch)
            if sum(len(batch.events) for batch in batches) >= count:
                break
    return batches


async def test_absent_key_reads_as_none(store: Store) -> None:
    assert await store.get("nodes/n1") is None


async def test_key_carries_its_revisions_and_version(store: Store) -> None:
    created = await put(store, "a", value=b"1")
    changed = await put(store, "a", value=b"2")
    item = await store.get("a")
    assert item is not None
    assert (item.key, item.value, item.version, item.lease) == ("a", b"2", 2, 0)
    assert (item.create_revision, item.mod_revision) == (created, changed)


async def test_deleted_key_begins_anew(store: Store) -> None:
    await put(store, "a")
    await store.txn([], [Delete("a")])
    again = await put(store, "a")
    item = await store.get("a")
    assert item is not None
    assert (item.create_revision, item.version) == (again, 1)


async def test_listing_is_sorted_and_limited_to_the_prefix(store: Store) -> None:
    await put(store, "b/2", "b/10", "b", "b/é", "b0", "c", "a")
    listing = await store.list("b/")
    assert [item.key for item in listing.items] == ["b/10", "b/2", "b/é"]


async def test_empty_prefix_lists_everything(store: Store) -> None:
    revision = await put(store, "a", "~", "é")
    listing = await store.list("")
    assert [item.key for item in listing.items] == ["a", "~", "é"]
    assert listing.revision >= revision


@pytest.mark.parametrize("page_size", [1, 3, 7, 500])
async def test_pages_add_up_to_the_whole(store: Store, page_size: int) -> None:
    keys = [f"k/{number:03}" for number in range(21)]
    await put(store, *keys)
    assert [item.key for item in (await store.list("k/", page_size)).items] == keys


async def test_count_is_of_the_keys_below_the_prefix_and_of_no_other(store: Store) -> None:
    assert await store.count("k/") == 0
    await put(store, *(f"k/{number}" for number in range(21)), "k", "k0", "j/1", "l")
    await store.txn([], [Delete("k/3")])
    assert await store.count("k/") == 20
    assert await store.count("") == 24


async def test_range_is_deleted_from_its_first_key_up_to_its_end_which_stays(store: Store) -> None:
    await put(store, "k/1", "k/2", "k/2/x", "k/3", "k/4", "l")
    await store.txn([], [Delete("k/2", until="k/4"), Put("k/4", b"2")])
    assert [item.key for item in (await store.list("")).items] == ["k/1", "k/4", "l"]
    await store.txn([], [Delete("k/1", until="k/1\0")])
    assert [item.key for item in (await store.list("")).items] == ["k/4", "l"]


async def test_transaction_runs_the_failure_branch_and_tells_what_it_found(store: Store) -> None:
    await put(store, "a", value=b"1")
    result = await store.txn([Compare.absent("a")], [Put("a", b"2")], [Get("a"), Get("z"), Get("", prefix=True)])
    assert not result.succeeded
    assert [[item.value for item in found] for found in result.gets] == [[b"1"], [], [b"1"]]


async def test_transaction_without_effect_takes_no_revision(store: Store) -> None:
    revision = await put(store, "a")
    assert (await store.txn([], [Delete("z"), Get("a")])).revision == revision


async def test_get_in_a_transaction_sees_the_puts_before_it(store: Store) -> None:
    result = await store.txn([], [Put("a", b"1"), Get("a"), Get("", prefix=True, limit=1)])
    assert [[item.value for item in found] for found in result.gets] == [[b"1"], [b"1"]]


async def test_unchanged_fails_after_a_write(store: Store) -> None:
    await put(store, "a")
    item = await store.get("a")
    assert item is not None
    assert (await store.txn([Compare.unchanged(item)], [Put("a", b"2")])).succeeded
    assert not (await store.txn([Compare.unchanged(item)], [Put("a", b"3")])).succeeded
    assert (await store.txn([Compare.at("z", 0)], [])).succeeded


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare("a", CompareField.VERSION, CompareOp.EQUAL, 1), True),
        (Compare("a", CompareField.VERSION, CompareOp.GREATER, 1), False),
        (Compare("a", CompareField.VERSION, CompareOp.LESS, 2), True),
        (Compare("a", CompareField.LEASE, CompareOp.EQUAL, 0), True),
        (Compare("a", CompareField.VALUE, CompareOp.EQUAL, b"v"), True),
        (Compare("a", CompareField.VALUE, CompareOp.NOT_EQUAL, b"v"), False),
        (Compare("a", CompareField.VALUE, CompareOp.LESS, b"w"), True),
        (Compare("absent", CompareField.VALUE, CompareOp.EQUAL, b""), False),
        (Compare("absent", CompareField.VALUE, CompareOp.NOT_EQUAL, b"x"), False),
        (Compare("absent", CompareField.CREATE, CompareOp.EQUAL, 0), True),
        (Compare("a", CompareField.CREATE, CompareOp.EQUAL, 0, prefix=True), False),
        (Compare("none/", CompareField.CREATE, CompareOp.EQUAL, 0, prefix=True), True),
        (Compare("a", CompareField.CREATE, CompareOp.GREATER, 0, prefix=True), True),
        (Compare("none/", CompareField.MOD, CompareOp.GREATER, 0, prefix=True), False),
        (Compare("", CompareField.MOD, CompareOp.LESS, 1 << 40, prefix=True), True),
        (Compare("", CompareField.VALUE, CompareOp.EQUAL, b"v", prefix=True), False),
    ],
)
async def test_compare_judges_as_etcd_does(store: Store, compare: Compare, holds: bool) -> None:
    await put(store, "a")
    await put(store, "b", value=b"other")
    assert (await store.txn([compare], [])).succeeded is holds


@pytest.mark.parametrize(
    ("compares", "ops", "message"),
    [
        ([], [Put(f"k{number}", b"") for number in range(129)], "129 success operations"),
        ([Compare.absent(f"k{number}") for number in range(129)], [], "129 compares"),
        ([], [Put("a", b"1"), Put("a", b"2")], "'a' twice"),
        ([], [Put("a", b"1"), Delete("a")], "puts and deletes 'a'"),
        ([], [Delete("a", prefix=True), Put("ab", b"1")], "puts and deletes 'ab'"),
        ([], [Delete("a", until="c"), Put("b", b"1")], "puts and deletes 'b'"),
        ([], [Delete("b", until="b")], "'b' until 'b', which is not after it"),
        ([], [Put("a", bytes(1_000_001))], "1000002 bytes"),
        ([Compare("a", CompareField.VALUE, CompareOp.EQUAL, 1)], [], "operand is int, not bytes"),
    ],
)
async def test_transaction_over_the_limits_is_refused(
    store: Store, compares: Sequence[Compare], ops: Sequence[Op], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await store.txn(compares, ops)


async def test_transaction_at_the_limits_is_accepted(store: Store) -> None:
    keys = [f"k{number:03}" for number in range(128)]
    value = bytes(999_000 // 128)
    result = await store.txn([Compare.absent(key) for key in keys], [Put(key, value) for key in keys])
    assert result.succeeded
    assert len((await store.list("k")).items) == 128


async def test_watch_gives_each_revision_whole_and_in_order(store: Store) -> None:
    first = await put(store, "w/a", "w/b", "x/c")
    await put(store, "x/d")
    await store.txn([], [Delete("w/a"), Put("w/c", b"3")])
    batches = await taken(store, "w/", first, 4)
    events = [event for batch in batches for event in batch.events]
    assert [(event.key, event.mod_revision - first, event.value is None) for event in events] == [
        ("w/a", 0, False),
        ("w/b", 0, False),
        ("w/a", 2, True),
        ("w/c", 2, False),
    ]
    assert batches[-1].revision == first + 2


async def test_watch_after_a_listing_misses_and_repeats_nothing(store: Store) -> None:
    await put(store, "w/0")
    listing = await store.list("w/")
    waiting = asyncio.create_task(taken(store, "w/", listing.revision + 1, 50))
    for number in range(50):
        await put(store, f"w/{number}")
    events = [event for batch in await waiting for event in batch.events]
    assert [event.key for event in events] == [f"w/{number}" for number in range(50)]


async def test_prefix_deletion_is_one_revision(store: Store) -> None:
    await put(store, "w/a", "w/b")
    await put(store, "x")
    revision = (await store.txn([], [Delete("w/", prefix=True)])).revision
    (batch,) = await taken(store, "w/", revision, 2)
    assert [(event.key, event.value, event.mod_revision) for event in batch.events] == [
        ("w/a", None, revision),
        ("w/b", None, revision),
    ]


async def test_watch_of_compacted_history_says_so(store: Store) -> None:
    first = await put(store, "a")
    last = await put(store, "a")
    await store.compact(last)
    with pytest.raises(Compacted):
        await taken(store, "a", first, 1)
    await put(store, "a")
    assert len(await taken(store, "a", last + 1, 1)) == 1


async def test_watch_from_the_compacted_revision_itself_says_so(store: Store) -> None:
    await put(store, "a")
    gone = (await store.txn([], [Delete("a")])).revision
    await store.compact(gone)
    with pytest.raises(Compacted):
        await taken(store, "a", gone, 1)


async def test_watch_from_the_future_is_not_silent(store: Store) -> None:
    revision = await put(store, "a")
    with pytest.raises(Compacted):
        await taken(store, "a", revision + 1_000_000, 1)


async def test_compaction_twice_or_of_the_future_is_refused(store: Store) -> None:
    revision = await put(store, "a")
    await store.compact(revision)
    for wrong in (revision, revision + 1_000_000):
        with pytest.raises(Compacted):
            await store.compact(wrong)


async def test_keys_go_with_their_lease(store: Store) -> None:
    lease = await store.grant_lease(30)
    await store.txn([], [Put("leased", b"1", lease.id), Put("free", b"2")])
    item = await store.get("leased")
    assert item is not None
    assert (item.lease, lease.lost) == (lease.id, False)
    await lease.revoke()
    assert lease.lost
    assert [item.key for item in (await store.list("")).items] == ["free"]
    await lease.revoke()


async def test_put_under_a_lease_that_is_gone_is_refused(store: Store) -> None:
    lease = await store.grant_lease(30)
    await lease.revoke()
    with pytest.raises(NotFound):
        await store.txn([], [Put("late", b"", lease.id)])
    assert await store.get("late") is None


@pytest.mark.parametrize("ttl_s", [0, -1, 9_000_000_001])
async def test_lease_with_a_senseless_ttl_is_refused(store: Store, ttl_s: int) -> None:
    with pytest.raises(InvalidInput):
        await store.grant_lease(ttl_s)


async def test_status_tells_version_and_revision(store: Store) -> None:
    revision = await put(store, "a")
    status = await store.status()
    assert status.version.startswith("3.")
    assert status.revision >= revision
    assert status.leader
    assert status.problems == ()


async def test_closing_ends_watches_and_refuses_calls(store: Store) -> None:
    revision = await put(store, "a")
    started = asyncio.Event()

    async def watch() -> None:
        async for _ in store.watch("", revision):
            started.set()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(30):
        await started.wait()
        await store.close()
        await watching
    with pytest.raises(Unavailable):
        await store.get("a")
    with pytest.raises(Unavailable):
        await store.txn([], [Put("a", b"")])
