"""What ipamd counts of its own work, while it works; `ipam.metrics` shows it."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Protocol, TypeVar

from romana.counting import Counter, Distribution, outcome_of

__all__ = ["IpamCounts", "WatchLag", "timed"]

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
LAGGING_MAX = 1024  # revisions of ours that the watch has not told yet; what comes beyond them is not measured


@dataclass(slots=True)
class IpamCounts:
    """Belongs to one ipamd."""

    calls: Distribution = field(default_factory=Distribution)
    """Seconds of allocations and releases, by call and outcome; each one of a batch is its own."""
    sizes: Distribution = field(default_factory=lambda: Distribution(SIZES))
    """How many requests shared a transaction."""
    commits: Counter = field(default_factory=Counter)
    """Transactions that etcd answered: `committed`, `split` (one of several met a conflict: sent again in halves), `conflict`."""

    def sent(self, size: int, succeeded: bool) -> None:
        """A transaction of so many requests was answered."""
        self.sizes.observe(size)
        self.commits.count("committed" if succeeded else "split" if size > 1 else "conflict")


class WatchLag:
    """How long after its commit the watch tells of a write of our own. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = Distribution()
        self._clock = clock
        self._written: deque[tuple[int, float]] = deque()
        self._heard = self._wrote = 0

    def wrote(self, revision: int) -> None:
        """A transaction of ours is at this revision; told again for each address in it. The watch may have been faster: 0."""
        if revision == self._wrote:
            return
        self._wrote = revision
        if revision <= self._heard:
            self.seconds.observe(0.0)
        elif len(self._written) < LAGGING_MAX:
            self._written.append((revision, self._clock()))

    def heard(self, revision: int) -> None:
        """The watch has come to this revision; a lower one than before: the store was restored."""
        self._heard = revision
        while self._written and self._written[0][0] <= revision:
            self.seconds.observe(self._clock() - self._written.popleft()[1])

    def forget(self) -> None:
        """What was written is of another history."""
        self._written.clear()
        self._heard = self._wrote = 0


class _Counting(Protocol):
    counts: IpamCounts


Self = TypeVar("Self", bound=_Counting)
Question = TypeVar("Question")
Answer = TypeVar("Answer")
Method = Callable[[Self, Question], Awaitable[Answer]]


def timed(call: str) -> Callable[[Method[Self, Question, Answer]], Method[Self, Question, Answer]]:
    """Counts the calls of a method whose object has `counts`."""

    def decorate(method: Method[Self, Question, Answer]) -> Method[Self, Question, Answer]:
        @wraps(method)
        async def counted(self: Self, question: Question) -> Answer:
            began_s = time.monotonic()
            try:
                answer = await method(self, question)
            except BaseException as err:
                self.counts.calls.observe(time.monotonic() - began_s, call, outcome_of(err))
                raise
            self.counts.calls.observe(time.monotonic() - began_s, call, "ok")
            return answer

        return counted

    return decorate
