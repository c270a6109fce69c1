"""How fast a network's addresses were taken lately, and how long the rest lasts. Pure. Times are UTC, ms since 1970."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["WEEK_MS", "Growth", "growth"]

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one network, in the last week, or in as much of it as there is."""

    network: str
    live: int
    """Addresses held now."""
    per_day: float
    """Net; negative when more were given back than taken."""
    over_days: float
    """What it was measured over: an hour at least, seven days at most."""
    days_left: float | None
    """Until `free` addresses are taken at this rate; None when it does not grow."""


def growth(network: str, held_since: Iterable[int], ended: Iterable[tuple[int, int]], free: int, now_ms: int) -> Growth:
    """From the addresses that are held (since when), those of the journal (from when to when), and how many are left.

    What was held a week ago is held still, or is in the journal with an end since: the journal is kept for a week.
    """
    since, past = list(held_since), list(ended)
    began = min([now_ms, *since, *(start for start, _ in past)])
    start_ms = max(now_ms - WEEK_MS, began)
    before = sum(at <= start_ms for at in since) + sum(start <= start_ms < end for start, end in past)
    days = max((now_ms - start_ms) / DAY_MS, 1 / 24)
    per_day = (len(since) - before) / days
    return Growth(network, len(since), per_day, days, free / per_day if per_day > 0 else None)
