"""A lease on etcd, kept alive in the background, and known to be lost as soon as it may be."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from romana.errors import NotFound, Unavailable
from romana.store.backoff import Outage

__all__ = ["EtcdLease"]

log = logging.getLogger(__name__)

Renew = Callable[[int], Awaitable[int]]
"""Renews a lease; gives its new time to live in seconds, 0 or less when it is gone, raises Unavailable."""
Revoke = Callable[[int], Awaitable[None]]


class EtcdLease:
    """See `romana.store.api.Lease`. Once lost it stays lost, even if etcd, back again, still knows it."""

    def __init__(self, lease_id: int, ttl_s: int, asked_at: float, renew: Renew, revoke: Revoke) -> None:
        """`asked_at`: `time.monotonic()` before the grant was sent; the lease surely lives until `ttl_s` after it."""
        self.id = lease_id
        self.ttl_s = ttl_s
        self._renew = renew
        self._revoke = revoke
        self._lost = False
        self._lives_until = asked_at + ttl_s
        self._outage = Outage(log, "lease", lease=lease_id)
        self._keeper = asyncio.create_task(self._keep_alive(), name=f"etcd lease {lease_id:x}")

    @property
    def lost(self) -> bool:
        """True once etcd said that the lease is gone, or could not be asked for a whole time to live, or it was revoked."""
        if time.monotonic() >= self._lives_until:
            self._lost = True
        return self._lost

    @property
    def ended(self) -> bool:
        """Whether nothing runs for it any more."""
        return self._keeper.done()

    async def revoke(self) -> None:
        """End the lease and all keys under it; without effect when it is gone already. Raises Unavailable."""
        self._lost = True
        await self.stop()
        try:
            await self._revoke(self.id)
        except NotFound:
            log.info("lease was gone already", extra={"lease": self.id})

    async def stop(self) -> None:
        """End the keepalive, not the lease."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])

    async def _keep_alive(self) -> None:
        pause_s = self.ttl_s / 3
        while True:
            await asyncio.sleep(pause_s)
            if self.lost:
                break
            pause_s = await self._renew_once()
        log.error("lease lost", extra={"lease": self.id, "ttl_s": self.ttl_s})

    async def _renew_once(self) -> float:
        """Renew; the answer is how many seconds to wait before the next time."""
        asked_at = time.monotonic()
        try:
            ttl_s = await self._renew(self.id)
        except Unavailable as err:
            return self._outage.failed(err)
        self._outage.over()
        self._lives_until = asked_at + ttl_s  # with 0 or less, as etcd says of a lease that is gone, it is lost now
        return max(0.0, ttl_s / 3)
