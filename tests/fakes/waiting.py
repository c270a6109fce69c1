"""Waiting for what becomes true by itself."""

import asyncio
from collections.abc import Callable

__all__ = ["until"]


async def until(condition: Callable[[], object], timeout_s: float = 60.0, poll_s: float = 0.001) -> None:
    """Return once the condition holds; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions are about what has no event to wait for
            await asyncio.sleep(poll_s)
