"""Wakes the loop when somebody else changed our rules or sets: legacy iptables and ipset tell nobody, so we look.

Ten times a second at outlines (about a ms at any size), every half minute at everything (docs/adr/0005-policy-in-the-kernel.md).
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from romana.errors import Unavailable

__all__ = ["Verifiable", "drift"]

log = logging.getLogger(__name__)

LOOK_S = 0.1  # a flushed FORWARD is open for as long as we do not look
FULL_EVERY = 300  # looks, so every half minute


class Verifiable(Protocol):
    """A data plane that can tell whether the kernel still holds what it left there."""

    def verify(self, *, full: bool = False) -> tuple[str, ...]:
        """What is not as the last apply left it; blocking."""


async def drift(dataplane: Verifiable, lock: asyncio.Lock) -> AsyncIterator[None]:
    """Yields once at the start and after every change that somebody else made. `lock` keeps looks and applies apart."""
    yield
    looks = 0
    while True:
        await asyncio.sleep(LOOK_S)
        looks += 1
        async with lock:
            try:
                found = await asyncio.to_thread(dataplane.verify, full=looks % FULL_EVERY == 0)
            except Unavailable as err:
                found = (str(err),)
        if found:
            log.warning("the kernel was changed by somebody else", extra={"found": found[:5]})
            yield
