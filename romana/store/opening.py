"""How a daemon gets its store: wait for etcd, refuse an etcd that loses data, agree on the layout of the keys."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from romana.errors import Ambiguous, Conflict, FatalError, Unavailable
from romana.store import schema, upgrading
from romana.store.api import Store
from romana.store.backoff import Outage
from romana.store.counts import StoreCounts
from romana.store.credentials import Credentials
from romana.store.etcd import DEFAULT_PREFIX, EtcdStore
from romana.store.versions import unsupported

__all__ = ["open_store", "prepare"]

log = logging.getLogger(__name__)

SCHEMA_POLL_S = 1.0
AGREE_STEPS = 3  # written or upgraded, looked at; once more when another was faster

OnFailure = Callable[[Exception], None]


async def open_store(
    endpoints: Sequence[str],
    prefix: str = DEFAULT_PREFIX,
    *,
    credentials: Credentials | None = None,
    write_schema: bool = False,
    timeout_s: float | None = None,
    counts: StoreCounts | None = None,
    on_failure: OnFailure = lambda _: None,
) -> EtcdStore:
    """A store that answers and whose layout we read; see `prepare`. The caller closes it.

    With `timeout_s` (commands that a person waits for) it raises Unavailable when that does not come about in time."""
    store = EtcdStore(endpoints, prefix, credentials=credentials, counts=counts)
    reasons: list[Exception] = []

    def note(err: Exception) -> None:
        reasons[:] = [err]
        on_failure(err)

    try:
        async with asyncio.timeout(timeout_s):
            await prepare(store, write_schema=write_schema, on_failure=note)
    except TimeoutError as err:
        await store.close()
        where, why = ", ".join(endpoints), str(reasons[-1]) if reasons else "is etcd up, and ipamd?"
        raise Unavailable(f"etcd at {where} gave no store that can be read within {timeout_s} s: {why}") from err
    except BaseException:
        await store.close()
        raise
    return store


async def prepare(store: Store, *, write_schema: bool = False, on_failure: OnFailure = lambda _: None) -> None:
    """Wait until the store answers and has a schema that we read; with `write_schema` (ipamd), write or upgrade it.

    `on_failure` hears of every attempt that failed. Raises FatalError for an etcd that is known to lose data and for a layout
    with a newer major version."""
    await _check_version(store, on_failure)
    await _check_schema(store, write_schema, on_failure)
    log.info("store opened", extra={"schema": f"{schema.MAJOR}.{schema.MINOR}"})


async def _check_version(store: Store, on_failure: OnFailure) -> None:
    outage = Outage(log, "opening the store")
    while True:
        try:
            status = await store.status()
        except Unavailable as err:
            on_failure(err)
            await asyncio.sleep(outage.failed(err))
            continue
        outage.over()
        reason = unsupported(status.version)
        if reason is not None:
            raise FatalError(reason)
        return


async def _check_schema(store: Store, write: bool, on_failure: OnFailure) -> None:
    """With `write`, make the schema what this program writes; without, wait until somebody has."""
    outage = Outage(log, "reading the schema")
    waiting = ""
    while True:
        try:
            why = await (_agree(store) if write else _why_wait(store))
            outage.over()
        except (Unavailable, Ambiguous, Conflict) as err:
            on_failure(err)
            await asyncio.sleep(outage.failed(err))
            continue
        if not why:
            return
        on_failure(Unavailable(why))
        if why != waiting:
            log.warning(why)
            waiting = why
        await asyncio.sleep(SCHEMA_POLL_S)


async def _agree(store: Store) -> str:
    for _ in range(AGREE_STEPS):
        if await upgrading.agree(store):
            return ""
    return "another ipamd upgrades the layout of the store"


async def _why_wait(store: Store) -> str:
    """What has to happen before the store can be read; empty: nothing. Raises FatalError when waiting does not help."""
    found = await store.get(schema.KEY)
    if found is None:
        return "store has no schema yet, waiting for ipamd to write it"
    if schema.judge(schema.LAYOUT, found) is schema.Standing.OLDER_MAJOR:
        return "store has an older layout, waiting for ipamd to upgrade it"
    return ""
