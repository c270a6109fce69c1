"""The outcomes of several things that were asked for together, waited for as one.

One future for all of them: at thousands a second a future for each, and a task that wakes up for it, are a good part of the cost.
"""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Answers", "Outcome"]

T = TypeVar("T")

Outcome: TypeAlias = T | Exception
"""What was asked for, or the error that it ended in."""


class Answers(Generic[T]):
    """Room for `count` outcomes. Belongs to one event loop; a waiter that gave up is no fault."""

    __slots__ = ("_count", "_outcomes", "_whole")

    def __init__(self, count: int) -> None:
        self._count = count
        self._outcomes: dict[int, Outcome[T]] = {}
        self._whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self._whole.set_result(None)

    def set(self, index: int, outcome: Outcome[T]) -> None:
        """Give the outcome at that place; the first one stays."""
        self._outcomes.setdefault(index, outcome)
        if len(self._outcomes) == self._count and not self._whole.done():  # a caller that gave up has cancelled it
            self._whole.set_result(None)

    def cancel(self) -> None:
        """Nobody will give what is missing."""
        self._whole.cancel()

    async def all(self) -> Sequence[Outcome[T]]:
        """Every outcome, once the last one is there."""
        await self._whole
        return [self._outcomes[index] for index in range(self._count)]
