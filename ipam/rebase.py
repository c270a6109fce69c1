"""Has everything that is watched read anew, from its first snapshot on, when the store turned out to be another.

source ──→ updates ──→ state          `replaced`: the state forgets all, each source ends with Unavailable, and is opened again
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from romana.errors import Unavailable

__all__ = ["Rebase"]


class Rebase:
    """`forget` makes the state as if nothing had been read yet."""

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._restart = asyncio.Event()

    def replaced(self) -> None:
        """What is known is of another history."""
        self._forget()
        self._restart.set()
        self._restart = asyncio.Event()

    async def follow(self, updates: AsyncGenerator[None, None]) -> AsyncIterator[None]:
        """The updates of one source; raises Unavailable once `replaced` was called: it is to be opened again."""
        restart = asyncio.ensure_future(self._restart.wait())
        try:
            while True:
                update = asyncio.ensure_future(anext(updates))
                try:
                    await asyncio.wait({update, restart}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not update.done():
                        update.cancel()
                        await asyncio.wait({update})
                if restart.done():
                    raise Unavailable("the store was restored; it is read anew")
                yield update.result()
        finally:
            restart.cancel()
            await updates.aclose()
