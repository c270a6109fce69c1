"""Calls that share a round trip."""

import asyncio
from collections.abc import Sequence

import pytest

from cni.agent_batches import BATCH_MAX, UNDER_WAY_MAX, Batches
from romana.errors import Exhausted, FatalError, RomanaError, Unavailable

PATIENCE_S = 60.0


class Server:
    """Doubles numbers, when it is let; refuses 13."""

    def __init__(self, *, knows_batches: bool = True) -> None:
        self.knows_batches = knows_batches
        self.alone: list[int] = []
        self.together: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.broken: Exception | None = None
        self.batches = Batches(self.answer, self.answer_all)

    async def answer(self, number: int, timeout_s: float) -> int:
        self.alone.append(number)
        await self.let.wait()
        if self.broken:
            raise self.broken
        if number == 13:
            raise Exhausted("13")
        return number * 2

    async def answer_all(self, numbers: Sequence[int], timeout_s: float) -> Sequence[int | RomanaError] | None:
        await self.let.wait()
        if not self.knows_batches:
            return None
        if self.broken:
            raise self.broken
        self.together.append(list(numbers))
        return [Exhausted("13") if number == 13 else number * 2 for number in numbers]

    async def ask(self, *numbers: int) -> list[int | BaseException]:
        return await asyncio.gather(*(self.batches.ask(number, PATIENCE_S) for number in numbers), return_exceptions=True)


async def test_call_that_comes_alone_goes_alone() -> None:
    server = Server()
    assert await server.ask(1) == [2]
    assert (server.alone, server.together) == ([1], [])


async def test_what_gathers_while_calls_are_under_way_goes_together_and_each_gets_its_own_answer() -> None:
    server = Server()
    server.let.clear()
    asking = asyncio.create_task(server.ask(*range(20)))
    await asyncio.sleep(0.01)
    assert len(server.alone) == UNDER_WAY_MAX
    server.let.set()
    outcomes = await asking
    assert [type(outcome) for outcome in outcomes] == [Exhausted if number == 13 else int for number in range(20)]
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [number * 2 for number in range(20) if number != 13]
    assert len(server.alone) == UNDER_WAY_MAX
    assert sorted(number for batch in server.together for number in batch) == list(range(UNDER_WAY_MAX, 20))


async def test_batch_has_a_bound() -> None:
    server = Server()
    server.let.clear()
    asking = asyncio.create_task(server.ask(*range(100, 100 + 3 * BATCH_MAX)))
    await asyncio.sleep(0.01)
    server.let.set()
    await asking
    assert max(len(batch) for batch in server.together) == BATCH_MAX


async def test_server_without_batches_is_asked_for_each_and_not_for_batches_again() -> None:
    server = Server(knows_batches=False)
    for _ in range(2):
        assert await server.ask(*range(10)) == [number * 2 for number in range(10)]
    assert sorted(server.alone) == sorted([*range(10), *range(10)])
    assert not server.together


async def test_lost_batch_is_told_to_everybody() -> None:
    server = Server()
    server.broken = Unavailable("gone")
    outcomes = await server.ask(*range(5))
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 5


async def test_bug_leaves_nobody_waiting() -> None:
    server = Server()
    server.broken = KeyError("x")
    outcomes = await server.ask(1, 2, 3, 4)
    assert {type(outcome) for outcome in outcomes} <= {FatalError, KeyError}
    assert len(outcomes) == 4


async def test_silent_server_is_unavailable_in_time_and_the_next_question_is_asked() -> None:
    server = Server()
    server.let.clear()
    with pytest.raises(Unavailable, match="no answer"):
        await server.batches.ask(1, 0.01)
    server.let.set()
    assert await server.ask(2) == [4]
