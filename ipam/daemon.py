"""ipamd: `romana-ipamd [--config FILE]`.

    etcd ──watch──→ State ──→ Upkeep (blocks ahead, placements) ──txn──→ etcd
                      ▲  └──→ gRPC: Ipam, Topology ──Committer──txn──→ etcd
                      └───────────────────────────────┘ own transactions at once

It listens from the start and answers UNAVAILABLE until it has read the store. It keeps nothing that etcd has not: `kill -9` at
any moment loses no acknowledged answer.
"""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from ipam.metrics import ipam_sources
from ipam.server import Ipamd
from romana import config, logs
from romana.errors import ConfigError, FatalError, InvalidInput
from romana.health.daemon import Health
from romana.health.store_metrics import store_source
from romana.rpc.server import check_listen
from romana.store.counts import StoreCounts
from romana.store.etcd import EtcdStore

__all__ = ["main"]

log = logging.getLogger(__name__)

GC_THRESHOLDS = (50_000, 50, 100)
"""New objects before a collection, and so many of those before one of the older ones (docs.python.org, gc.set_threshold).

An allocation makes a hundred objects, none in a cycle, and keeps a dozen: with Python's own 700, looking through them was a tenth
of its cost."""
EXIT_CONFIG = 2
EXIT_FATAL = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT. Exits with 2 for a wrong configuration, 1 when the supervisor should start it again."""
    parser = argparse.ArgumentParser(prog="romana-ipamd", description="romana's allocation service")
    parser.add_argument("--config", type=Path, help="configuration file (TOML); its conf.d is beside it")
    try:
        settings = config.load(parser.parse_args(arguments).config)
        logs.set_up(settings.log.level)
        check_listen(settings.ipam.listen, insecure=settings.ipam.insecure)
        gc.set_threshold(*GC_THRESHOLDS)
        uvloop.run(_run(settings))
    except ConfigError as err:
        sys.stderr.write(f"romana-ipamd: {err}\n")
        sys.exit(EXIT_CONFIG)
    except FatalError as err:
        log.error("cannot go on", extra={"error": str(err)})  # noqa: TRY400 - the message says it; a trace would not help
        sys.exit(EXIT_FATAL)


async def _run(settings: config.Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    counts = StoreCounts()
    store = _store(settings.etcd, counts)
    ipam = settings.ipam
    ipamd = Ipamd(
        store,
        cooldown_s=ipam.cooldown_s,
        restore_hold_s=ipam.restore_hold_s,
        check_interval_s=ipam.check_interval_s,
        check_apart_s=ipam.check_apart_s,
        store_counts=counts,
    )
    sources = (store_source(counts), *ipam_sources(ipamd.state, ipamd.counts, ipamd.recovery))
    health = Health("ipamd", settings.health.ipamd, sources)
    health.conditions = ipamd.readiness.conditions
    try:
        async with health.serving():
            await ipamd.serve(settings.ipam.listen, stop)
    finally:
        await store.close()


def _store(settings: config.EtcdConfig, counts: StoreCounts) -> EtcdStore:
    try:
        return EtcdStore(settings.endpoints, settings.prefix, credentials=settings.credentials(), counts=counts)
    except InvalidInput as err:
        raise ConfigError(f"etcd cannot be reached as configured (section etcd): {err}") from err
