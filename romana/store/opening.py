"""How a daemon gets its store: wait for etcd, refuse an etcd that loses data, agree on the layout of the keys."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from romana.errors import Ambiguous, FatalError, Unavailable
from romana.store import schema
from romana.store.api import Compare, KeyValue, Put, Store
from romana.store.backoff import Outage
from romana.store.credentials import Credentials
from romana.store.etcd import DEFAULT_PREFIX, EtcdStore
from romana.store.versions import unsupported
from romana.v1.store_pb2 import Schema

__all__ = ["open_store", "prepare"]

log = logging.getLogger(__name__)

SCHEMA_POLL_S = 1.0

OnFailure = Callable[[Exception], None]


async def open_store(
    endpoints: Sequence[str],
    prefix: str = DEFAULT_PREFIX,
    *,
    credentials: Credentials | None = None,
    write_schema: bool = False,
    timeout_s: float | None = None,
) -> EtcdStore:
    """A store that answers and whose layout we read; see `prepare`. The caller closes it.

    With `timeout_s` (commands that a person waits for) it raises Unavailable when that does not come about in time."""
    store = EtcdStore(endpoints, prefix, credentials=credentials)
    reasons: list[Exception] = []
    try:
        async with asyncio.timeout(timeout_s):
            await prepare(store, write_schema=write_schema, on_failure=reasons.append)
    except TimeoutError as err:
        await store.close()
        where, why = ", ".join(endpoints), str(reasons[-1]) if reasons else "is etcd up, and ipamd?"
        raise Unavailable(f"etcd at {where} gave no store that can be read within {timeout_s} s: {why}") from err
    except BaseException:
        await store.close()
        raise
    return store


async def prepare(store: Store, *, write_schema: bool = False, on_failure: OnFailure = lambda _: None) -> None:
    """Wait until the store answers and has a schema that we read; with `write_schema` (ipamd), write it when it is absent.

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
    outage = Outage(log, "reading the schema")
    waiting = False
    while True:
        try:
            found = await store.get(schema.KEY)
            outage.over()
            if found is not None:
                return _judge(found)
            if write:
                ours = Schema(major=schema.MAJOR, minor=schema.MINOR).SerializeToString()
                await store.txn([Compare.absent(schema.KEY)], [Put(schema.KEY, ours)])
                continue
        except (Unavailable, Ambiguous) as err:
            on_failure(err)
            await asyncio.sleep(outage.failed(err))
            continue
        if not waiting:
            log.warning("store has no schema yet, waiting for ipamd to write it")
            waiting = True
        await asyncio.sleep(SCHEMA_POLL_S)


def _judge(found: KeyValue) -> None:
    """Raise FatalError unless the layout is one that this program reads."""
    try:
        theirs = Schema.FromString(found.value)
    except DecodeError as err:
        raise FatalError(f"key {found.key!r} holds no schema: {err}") from err
    if theirs.major != schema.MAJOR:
        wanted = f"this program reads {schema.MAJOR}.x"
        remedy = "upgrade this program" if theirs.major > schema.MAJOR else "the key is damaged"
        raise FatalError(f"the store's layout has version {theirs.major}.{theirs.minor}, {wanted}: {remedy}")
