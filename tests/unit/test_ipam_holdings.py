"""What the journal keeps, and who held an address at a time."""

from hypothesis import given
from hypothesis import strategies as st

from ipam.holdings import KEPT_MS, KEPT_RECORDS, Holding, held_at, kept_from, prefixes_from, surplus
from ipam.records import AttachmentId
from romana import keys

NOW_MS = 1_764_061_200_000
TIMES = st.one_of(st.integers(0, 10**15 - 1), st.integers(NOW_MS - 1000, NOW_MS + 1000))


def _holding(container: str, since_ms: int, until_ms: int | None) -> Holding:
    return Holding("pods", AttachmentId("n1", "romana", container, "eth0"), None, since_ms, until_ms)


def test_holder_is_the_one_whose_time_contains_it() -> None:
    first, second, living = _holding("a", 10, 20), _holding("b", 30, 40), _holding("c", 50, None)
    everybody = [living, second, first]
    assert held_at(everybody, 9) == ()
    assert held_at(everybody, 10) == (first,)
    assert held_at(everybody, 20) == (first,)
    assert held_at(everybody, 25) == ()
    assert held_at(everybody, 35) == (second,)
    assert held_at(everybody, 49) == ()
    assert held_at(everybody, 10**12) == (living,)


def test_records_that_overlap_are_all_shown_earliest_first() -> None:
    first, second = _holding("a", 10, 30), _holding("b", 20, 40)
    assert held_at([second, first], 25) == (first, second)


def test_what_was_read_while_held_and_again_as_ended_is_one_and_ended() -> None:
    living, ended = _holding("a", 10, None), _holding("a", 10, 30)
    assert held_at([living, ended], 20) == held_at([ended, living], 20) == (ended,)
    assert held_at([living, ended], 31) == ()


def test_journal_is_complete_for_a_week_unless_it_was_full() -> None:
    assert kept_from(0, None, NOW_MS) == NOW_MS - KEPT_MS
    assert kept_from(KEPT_RECORDS - 1, NOW_MS - 5, NOW_MS) == NOW_MS - KEPT_MS
    assert kept_from(KEPT_RECORDS, NOW_MS - 5, NOW_MS) == NOW_MS - 5
    assert kept_from(KEPT_RECORDS, NOW_MS - KEPT_MS - 5, NOW_MS) == NOW_MS - KEPT_MS


def test_what_is_too_old_goes_and_what_is_too_much() -> None:
    cutoff = NOW_MS - KEPT_MS
    page = [keys.journal(at, "10.40.0.0-7") for at in (cutoff - 2, cutoff - 1, cutoff, cutoff + 1)]
    assert surplus(page, 0, NOW_MS) == tuple(page[:2])
    assert surplus(page, -100, NOW_MS) == tuple(page[:2])
    assert surplus(page, 3, NOW_MS) == tuple(page[:3])
    assert surplus(page, 99, NOW_MS) == tuple(page)
    assert surplus([], 99, NOW_MS) == ()


def test_a_key_of_somebody_else_is_never_too_old() -> None:
    assert surplus(["journal/notes", "journal/-1/x"], 0, NOW_MS) == ()


@given(TIMES, TIMES)
def test_prefixes_are_of_just_what_ended_then_or_later(at_ms: int, ended_ms: int) -> None:
    key = keys.journal(ended_ms, "10.40.0.0-7")
    assert sum(key.startswith(prefix) for prefix in prefixes_from(at_ms)) == (ended_ms >= at_ms)


@given(TIMES)
def test_prefixes_are_in_order_and_few(at_ms: int) -> None:
    prefixes = prefixes_from(at_ms)
    assert list(prefixes) == sorted(prefixes)
    assert len(prefixes) <= 9 * 15 + 1
