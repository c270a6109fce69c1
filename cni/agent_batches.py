"""Calls that share a way: what is asked while one is under way goes together in the next.

A call that comes alone goes alone and at once. In a burst each round trip takes along all that gathered during the one before it,
so nobody waits for a timer, and the cost of a call is shared. Where the server knows no batches, each goes by itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from romana.errors import FatalError, RomanaError, Unavailable

__all__ = ["Batches"]

Question = TypeVar("Question")
Answer = TypeVar("Answer")

UNDER_WAY_MAX = 2
"""A second call while the first is under way keeps the server busy; a third would only make the batches smaller."""
BATCH_MAX = 100
"""As many ADDs at once as a node is designed for."""
UNKNOWN_S = 60.0
"""How long a server that knows no batches is not asked again: it may be replaced by one that does."""


@dataclass(slots=True, eq=False)
class _Asked(Generic[Question, Answer]):
    question: Question
    give_up: float
    answer: "asyncio.Future[Answer]"

    def tell(self, outcome: Answer | BaseException) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class Batches(Generic[Question, Answer]):
    """`alone(question, seconds)`, `together(questions, seconds)`: one outcome each, or None from a server without such a call."""

    def __init__(
        self,
        alone: Callable[[Question, float], Awaitable[Answer]],
        together: Callable[[Sequence[Question], float], Awaitable[Sequence[Answer | RomanaError] | None]],
    ) -> None:
        self._alone = alone
        self._together = together
        self._waiting: list[_Asked[Question, Answer]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._alone_under_way = 0
        self._known_from = 0.0

    async def ask(self, question: Question, timeout_s: float) -> Answer:
        """The answer; raises what the server answered, Unavailable when it did not."""
        if not self._waiting and self._has_room():
            return await self._at_once(question, timeout_s)
        asked = _Asked[Question, Answer](question, time.monotonic() + timeout_s, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._start()
        try:
            async with asyncio.timeout(timeout_s):
                return await asked.answer
        except TimeoutError as err:
            raise Unavailable(f"no answer within {timeout_s:g} s") from err
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)

    async def _at_once(self, question: Question, timeout_s: float) -> Answer:
        """By the caller's own task: a call that comes alone is on its way before any other task has run."""
        self._alone_under_way += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._alone(question, timeout_s)
        except TimeoutError as err:
            raise Unavailable(f"no answer within {timeout_s:g} s") from err
        finally:
            self._alone_under_way -= 1
            self._start()

    def _has_room(self) -> bool:
        return len(self._under_way) + self._alone_under_way < UNDER_WAY_MAX or time.monotonic() < self._known_from

    def _start(self) -> None:
        while self._waiting and self._has_room():
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            task = asyncio.create_task(self._carry(batch))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._start()

    async def _carry(self, batch: list[_Asked[Question, Answer]]) -> None:
        try:
            if len(batch) == 1 or time.monotonic() < self._known_from:
                await self._each(batch)
                return
            left_s = max(asked.give_up for asked in batch) - time.monotonic()
            outcomes = await self._together([asked.question for asked in batch], left_s)
            if outcomes is None:
                self._known_from = time.monotonic() + UNKNOWN_S
                await self._each(batch)
                return
            for asked, outcome in zip(batch, outcomes, strict=True):
                asked.tell(outcome)
        except RomanaError as err:
            self._tell_all(batch, err)
        except Exception as err:  # noqa: BLE001 - told to those who wait, who must not wait for ever
            self._tell_all(batch, FatalError(f"{type(err).__name__}: {err}"))

    async def _each(self, batch: list[_Asked[Question, Answer]]) -> None:
        async def one(asked: _Asked[Question, Answer]) -> None:
            try:
                asked.tell(await self._alone(asked.question, asked.give_up - time.monotonic()))
            except RomanaError as err:
                asked.tell(err)

        await asyncio.gather(*(one(asked) for asked in batch))

    def _tell_all(self, batch: list[_Asked[Question, Answer]], err: RomanaError) -> None:
        for asked in batch:
            asked.tell(err)
