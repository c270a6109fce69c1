"""A table keeps the newest of what it hears, whatever comes first."""

from ipam.table import Row, Table
from romana.errors import InvalidInput
from romana.store.api import Event, KeyValue, Listing


def item(key: str, mod: int, value: bytes = b"v") -> KeyValue:
    return KeyValue(key, value, mod, mod, 1)


def decode(found: KeyValue) -> bytes:
    if found.value == b"bad":
        raise InvalidInput("bad")
    return found.value


def table() -> tuple[Table[bytes], list[tuple[str | None, str | None]]]:
    changes: list[tuple[str | None, str | None]] = []

    def changed(old: Row[bytes] | None, new: Row[bytes] | None) -> None:
        before, after = (f"{row.key}@{row.mod_revision}" if row else None for row in (old, new))
        changes.append((before, after))

    return Table(decode, changed), changes


def test_a_late_event_never_undoes_an_own_write() -> None:
    made, _ = table()
    made.replace([item("a", 2)], 5)
    made.put(item("a", 9, b"own"))
    made.follow([Event("a", 7, item("a", 7, b"old")), Event("a", 8, None)], 8)
    assert made.rows["a"].value == b"own"
    made.follow([Event("a", 9, item("a", 9, b"own"))], 9)
    assert made.rows["a"].mod_revision == 9


def test_a_late_event_never_undoes_an_own_delete() -> None:
    made, _ = table()
    made.replace([item("a", 2)], 5)
    made.remove("a", 9)
    made.follow([Event("a", 7, item("a", 7))], 8)
    assert made.rows == {}
    made.follow([Event("a", 9, None), Event("a", 10, item("a", 10))], 10)
    assert made.rows["a"].mod_revision == 10


def test_a_late_answer_never_brings_back_what_the_watch_has_seen_end() -> None:
    """A claim's answer after another ipamd's change of topology gave the block back."""
    made, _ = table()
    made.replace([], 5)
    made.follow([Event("a", 6, item("a", 6)), Event("a", 7, None)], 7)
    made.put(item("a", 6))
    assert made.rows == {}
    made.remove("b", 8)
    made.complete_to(8)
    made.follow([], 8)
    made.put(item("b", 6))
    assert made.rows == {}


def test_a_listing_of_our_own_counts_until_the_watch_is_further() -> None:
    made, _ = table()
    made.replace([item("a", 2), item("b", 3)], 5)
    made.put(item("own", 12))
    made.refresh(Listing(10, (item("b", 7), item("c", 9))))
    assert {key: row.mod_revision for key, row in made.rows.items()} == {"b": 7, "c": 9, "own": 12}
    made.follow([Event("b", 7, item("b", 7)), Event("a", 8, None), Event("d", 9, item("d", 9))], 9)
    assert set(made.rows) == {"b", "c", "own"}  # d was written at 9 and deleted by 10
    made.refresh(Listing(4, ()))
    assert set(made.rows) == {"b", "c", "own"}


def test_a_snapshot_of_a_restored_store_replaces_everything_though_it_is_older() -> None:
    made, changes = table()
    made.replace([item("a", 90), item("b", 91)], 100)
    made.put(item("own", 101))
    made.replace([item("a", 3)], 5)
    assert {key: row.mod_revision for key, row in made.rows.items()} == {"a": 3}
    assert changes[-3:] == [("b@91", None), ("own@101", None), ("a@90", "a@3")]
    made.follow([Event("a", 6, None)], 6)
    assert made.rows == {}


def test_the_same_snapshot_again_changes_nothing() -> None:
    made, changes = table()
    made.replace([item("a", 2)], 5)
    changes.clear()
    made.replace([item("a", 2)], 8)
    assert changes == []
    assert (made.revision, made.whole) == (8, True)


def test_a_key_that_is_none_of_ours_is_left_out() -> None:
    made, changes = table()
    made.replace([item("junk", 2, b"bad")], 5)
    assert (made.rows, changes) == ({}, [])
