"""Keeps a daemon from acting on a store that was restored, as long as its recovery is under way (docs/adr/0007).

A restored store lacks blocks, attachments and endpoints of pods that run. Whoever believed it would withdraw their routes and
shut them off, until their agents have re-asserted. So no sync runs from the moment that the store's client notices another
history (`Store.replaced`; it does so before it hands on what is in it) until a recovery has begun and ended. Otherwise it costs a
sync the comparison of two numbers.

A history that is replaced without a recovery ever beginning is believed after `PATIENCE_S`: nobody who gives out addresses has
seen anything wrong with it.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from google.protobuf.message import DecodeError

from romana import keys
from romana.errors import Unavailable
from romana.store.api import Get, Store
from romana.v1.store_pb2 import History

__all__ = ["Settled"]

log = logging.getLogger(__name__)

PATIENCE_S = 300.0

Sync = Callable[[], Awaitable[Mapping[str, object] | None]]


class Settled:
    """`clock` is monotonic, in seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._believed: int | None = None
        self._history = ""
        self._doubted_s: float | None = None

    def guard(self, sync: Sync) -> Sync:
        """The sync, which raises Unavailable instead as long as the store is not to be believed."""

        async def guarded() -> Mapping[str, object] | None:
            if self._believed != self._store.replaced:
                await self._check()
            return await sync()

        return guarded

    async def _check(self) -> None:
        replaced = self._store.replaced
        cluster_id = (await self._store.status()).cluster_id
        result = await self._store.txn([], [Get(keys.HISTORY), Get(keys.RESTORED)])
        history = _history(result.gets[0][0].value) if result.gets[0] else History()
        why = self._doubt(history, cluster_id, recovering=bool(result.gets[1]))
        if why:
            raise Unavailable(f"the store was restored, and what it says is not acted on yet: {why}")
        self._believed, self._history, self._doubted_s = replaced, history.id, None

    def _doubt(self, history: History, cluster_id: int, *, recovering: bool) -> str:
        """Why the store is not to be believed; empty: it is."""
        if recovering:
            self._doubted_s = None
            return "nodes have not all re-asserted (romana ipam recovery)"
        if not history.id and not self._history:
            return ""  # a store without an ipamd, or of one that knows no histories: nobody recovers it
        is_new = history.id != self._history and (not self._history or self._history in history.former)
        if history.cluster_id == cluster_id and is_new:
            return ""
        if self._doubted_s is None:
            self._doubted_s = self._clock()
        if self._clock() - self._doubted_s > PATIENCE_S:
            log.error("no recovery of the replaced store has begun; it is believed", extra={"history": history.id})
            return ""
        return "ipamd has not noticed it yet"


def _history(value: bytes) -> History:
    try:
        return History.FromString(value)
    except DecodeError:
        return History()
