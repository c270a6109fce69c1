"""What a person sees while a lab is made, and threads that outlast nobody."""

import asyncio
import threading

import pytest

from romana.lab import progress
from romana.lab.progress import Steps, to_the_end


async def test_a_step_that_takes_long_is_named_while_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.02)
    told: list[str] = []
    async with Steps(told.append) as steps:
        steps.done("namespaces")
        steps.doing("etcd")
        await asyncio.sleep(0.1)
        steps.done("etcd answers")
    assert [text.partition("] ")[2] for text in (told[0], told[1], told[-1])] == [
        "namespaces",
        "waiting for etcd",
        "etcd answers",
    ]
    told.clear()
    await asyncio.sleep(0.05)
    assert told == []


async def test_a_short_step_is_told_only_when_it_is_done() -> None:
    told: list[str] = []
    async with Steps(told.append) as steps:
        steps.doing("etcd")
        steps.done("etcd answers")
    assert len(told) == 1


async def test_a_cancelled_task_ends_after_its_thread() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(5)
        ended.set()

    task = asyncio.create_task(to_the_end(work))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
