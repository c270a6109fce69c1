"""What every command needs: the configuration, a client of ipamd, the store, and errors as exit codes."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from romana.config import Config, load
from romana.errors import ConfigError, InvalidInput, NotFound, Refused, RomanaError, UsageError
from romana.rpc.client import Client
from romana.store.api import Store
from romana.store.opening import open_store

__all__ = ["CALL_TIMEOUT_S", "Exit", "config", "exit_code", "ipamd", "run", "set_config_path", "store"]

CALL_TIMEOUT_S = 10.0
Answer = TypeVar("Answer")


class Exit(IntEnum):
    """Exit codes of every command (docs/architecture.md, "Command line")."""

    FINE = 0
    FOUND = 1
    USAGE = 2
    COULD_NOT_TELL = 3
    REFUSED = 4


_path: list[Path] = []


def set_config_path(path: Path) -> None:
    """Use this configuration file in place of ROMANA_CONFIG and the default one."""
    _path[:] = [path]


def config() -> Config:
    """The configuration in force."""
    return load(_path[0] if _path else None)


@asynccontextmanager
async def ipamd() -> AsyncIterator[Client]:
    """A client of ipamd as configured."""
    async with Client(config().ipam.endpoints) as client:
        yield client


@asynccontextmanager
async def store() -> AsyncIterator[Store]:
    """The store as configured, for reading."""
    settings = config().etcd
    opened = await open_store(settings.endpoints, settings.prefix, credentials=settings.credentials(), timeout_s=CALL_TIMEOUT_S)
    try:
        yield opened
    finally:
        await opened.close()


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run one command's work to its end; SIGTERM and SIGHUP cancel it as SIGINT does, so that it undoes what it has to."""
    received: list[int] = []
    try:
        return asyncio.run(_until_signalled(work, received))
    except asyncio.CancelledError:
        if received:
            sys.exit(128 + received[0])  # as a shell reports a death by signal
        raise


async def _until_signalled(work: Coroutine[Any, Any, Answer], received: list[int]) -> Answer:
    task = asyncio.ensure_future(work)

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return await task


def exit_code(err: RomanaError) -> Exit:
    """The exit code that tells a script what to do about an error."""
    if isinstance(err, (ConfigError, UsageError)):
        return Exit.USAGE
    if isinstance(err, NotFound):
        return Exit.FOUND
    if isinstance(err, (InvalidInput, Refused)):
        return Exit.REFUSED
    return Exit.COULD_NOT_TELL
