"""What a person sees while a lab is made or changed: each step when it is done, and a word every 2 s while one takes longer."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["Say", "Steps", "to_the_end"]

Say = Callable[[str], None]
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

PATIENCE_S = 2.0


class Steps:
    """`async with Steps(say) as steps`: tells of steps with the seconds since it began, and of waiting where nothing is told."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()
        self._doing = ""

    def doing(self, what: str) -> None:
        """Name what is waited for from now on."""
        self._doing = what

    def done(self, step: str) -> None:
        """Tell of a step that is over."""
        self._tell(step)

    async def __aenter__(self) -> "Steps":
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self._ticking.cancel()
        await asyncio.wait([self._ticking])

    def _tell(self, text: str) -> None:
        self._told = time.monotonic()
        self._say(f"[{self._told - self._began:4.1f} s] {text}")

    async def _tick(self) -> None:
        self._told = self._began
        while True:
            left_s = self._told + PATIENCE_S - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                self._tell(f"waiting for {self._doing}")


async def to_the_end(function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
    """`asyncio.to_thread`, whose end also a cancelled task awaits: no thread goes on beside what undoes its work."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise
