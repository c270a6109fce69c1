"""What the journal of released addresses keeps, and who held an address at a time. Pure. Times: UTC, milliseconds since 1970.

A record's key begins with the time at which the address was released, so keys are in the order of ends. The journal keeps records
for `KEPT_MS`, and no more than `KEPT_RECORDS` of them; what goes, goes oldest first. So it is known from when on it is complete:

    fewer than KEPT_RECORDS records  ->  only age has taken any since: complete from now - KEPT_MS on
    else                             ->  complete from the end of the oldest record on, if that is later

Whoever held an address at a time holds it still, or has a record whose key is not before that time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipam.records import AttachmentId, PodId
from romana import keys

__all__ = ["KEPT_MS", "KEPT_RECORDS", "Holding", "held_at", "kept_from", "prefixes_from", "run_of", "surplus"]

KEPT_MS = 7 * 86_400_000
KEPT_RECORDS = 500_000
_DIGITS = 15  # of the time in a key, see keys.journal


@dataclass(frozen=True, slots=True)
class Holding:
    """An address in the hands of an attachment; None where a record does not say it."""

    network: str
    attachment: AttachmentId | None
    pod: PodId | None
    since_ms: int
    until_ms: int | None = None
    """None: held still."""

    def contains(self, at_ms: int) -> bool:
        """Whether it was held then; both ends count, as clocks are not that exact."""
        return self.since_ms <= at_ms and (self.until_ms is None or at_ms <= self.until_ms)


def held_at(holdings: Iterable[Holding], at_ms: int) -> tuple[Holding, ...]:
    """Those that contain the time, earliest first. One that was read while held and again as ended is one: the ended."""
    found: dict[tuple[str, AttachmentId | None, int], Holding] = {}
    for holding in holdings:
        key = (holding.network, holding.attachment, holding.since_ms)
        if key not in found or found[key].until_ms is None:
            found[key] = holding
    return tuple(sorted((one for one in found.values() if one.contains(at_ms)), key=lambda one: one.since_ms))


def kept_from(records: int, oldest_ms: int | None, now_ms: int) -> int:
    """From when on the journal is complete; `oldest_ms` is the end of its oldest record."""
    by_age = now_ms - KEPT_MS
    return by_age if records < KEPT_RECORDS or oldest_ms is None else max(by_age, oldest_ms)


def surplus(oldest: Sequence[str], excess: int, now_ms: int) -> tuple[str, ...]:
    """Which of the journal's oldest keys (sorted) go: the first `excess`, and those that are too old."""
    return tuple(key for place, key in enumerate(oldest) if place < excess or _too_old(key, now_ms))


def run_of(page: Sequence[str], going: Sequence[str]) -> Sequence[str]:
    """Those of the keys `going` that follow one another in the page without one between that stays: a range can delete them."""
    start = page.index(going[0]) if going else 0
    return [key for key, wanted in zip(page[start:], going, strict=False) if key == wanted]


def _too_old(key: str, now_ms: int) -> bool:
    ended_ms = keys.journal_time(key)
    return ended_ms is not None and ended_ms < now_ms - KEPT_MS


def prefixes_from(at_ms: int) -> tuple[str, ...]:
    """Prefixes that together are the keys of all records that ended then or later, in order: each later digit at each place."""
    digits = f"{max(at_ms, 0):0{_DIGITS}d}"
    later = (
        keys.JOURNAL + digits[:place] + str(digit)
        for place in reversed(range(_DIGITS))
        for digit in range(int(digits[place]) + 1, 10)
    )
    return (keys.JOURNAL + digits, *later)
