"""Everything below a prefix, and every change from then on, for whoever keeps his own copy: list, then watch; and list again when
the history is gone.

list --> Listing --> watch(revision + 1) --> Batch, Batch, ...
  ^                                   | Compacted
  +-----------------------------------+
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from romana.errors import Compacted, Unavailable
from romana.store.api import Batch, Listing, Store
from romana.store.backoff import Outage

__all__ = ["follow"]

log = logging.getLogger("romana.store.reflector")


async def follow(store: Store, prefix: str, page_size: int = 500) -> AsyncGenerator[Listing | Batch, None]:
    """A listing, then what changed since; never ends, and raises nothing that waiting can mend. Keeps nothing of it.

    A listing says all that is there, the first one and any later one. Stop it by cancelling the task, or by closing it
    (`contextlib.aclosing`)."""
    outage = Outage(log, "listing", prefix=prefix)
    while True:
        try:
            listing = await store.list(prefix, page_size)
            outage.over()
            revision = listing.revision
            yield listing
            del listing  # it may be large
            async with aclosing(store.watch(prefix, revision + 1)) as batches:
                async for batch in batches:
                    yield batch
        except Compacted as err:
            log.info("history is gone, listing again", extra={"prefix": prefix, "error": str(err)})
        except Unavailable as err:
            await asyncio.sleep(outage.failed(err))
