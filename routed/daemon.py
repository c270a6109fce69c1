"""The route daemon, wired together. It never removes a route before it knows all nodes and blocks, nor when it ends.

store: nodes/, blocks/ ──watch──┐
                                ├─→ loop ─→ Router.sync ─→ kernel: routes of protocol 82
kernel: events ─────────────────┘               └──────→ receipts/<node>/routed
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from romana import config, keys, logs
from romana.errors import ConfigError, RomanaError
from romana.health.daemon import Health
from romana.health.store_metrics import Watches, store_source
from romana.reconcile import Outcome, Pace, ReceiptWriter, Source, once, run
from romana.store import schema
from romana.store.api import Store
from romana.store.counts import StoreCounts
from romana.store.opening import open_store
from romana.store.settled import Settled
from routed.kernel import Kernel
from routed.metrics import routed_health
from routed.monitor import watch_kernel
from routed.state import State
from routed.sync import Router, Table
from routed.text import op_text

__all__ = ["main", "serve"]

log = logging.getLogger(__name__)

Told = tuple[Health, Watches]
"""A daemon's health, and what of it the store's client knows."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 after SIGTERM or when --once is done, 2 for a wrong configuration, 1 for any other error."""
    flags = _flags(argv)
    try:
        settings = config.load(flags.config)
        node = config.node_name(settings)
    except ConfigError as err:
        sys.stderr.write(f"{err}\n")
        return 2
    logs.set_up(settings.log.level)
    status = 0
    try:
        asyncio.run(_until_stopped(settings, node, flags))
    except* asyncio.CancelledError:
        log.info("stopped, the routes stay", extra={"node": node})
    except* RomanaError as group:
        status = 1
        for error in group.exceptions:
            log.error("routed ends", extra={"error": str(error), "kind": type(error).__name__})  # noqa: TRY400
    return status


async def serve(node: str, store: Store, table: Table, events: Source, pace: Pace, told: Told | None = None) -> None:
    """Keep the routes right and the receipt current until cancelled; `told` is where its health is told."""
    state, outcome = State(store), Outcome()
    receipt = ReceiptWriter(store, keys.receipt(node, "routed"), backend="netlink")
    router = Router(node, state, table, receipt.report)
    if told is not None:
        routed_health(told[0], store, told[1], state, router.counts, outcome)
    sync = outcome.guard(Settled(store).guard(router.sync))
    async with asyncio.TaskGroup() as tasks:
        layout = Source(schema.KEY, partial(schema.follow, store))
        tasks.create_task(receipt.run(), name="receipt")
        tasks.create_task(run("routes", [*state.sources(), events, layout], sync, pace), name="routes")


async def _until_stopped(settings: config.Config, node: str, flags: argparse.Namespace) -> None:
    _cancel_on_signals()
    counts, only_once = StoreCounts(), flags.once or flags.dry_run
    health = Health("routed", "off" if only_once else settings.health.routed, [store_source(counts)])
    async with health.serving():
        store = await open_store(
            settings.etcd.endpoints,
            settings.etcd.prefix,
            credentials=settings.etcd.credentials(),
            counts=counts,
            on_failure=health.starting,
        )
        try:
            async with Kernel(settings.routed.table) as table:
                if only_once:
                    await _only_once(node, store, table, dry=flags.dry_run)
                else:
                    events = Source("kernel", lambda: watch_kernel(lambda: table.port))
                    told = health, Watches(counts)
                    await serve(node, store, table, events, Pace(resync_s=settings.routed.resync_s), told)
        finally:
            await store.close()


async def _only_once(node: str, store: Store, table: Table, *, dry: bool) -> None:
    """One sync, or only its plan, one operation a line; no receipt, because it would go with this process."""
    state = State(store)
    router = Router(node, state, table, lambda _: None)

    async def show() -> None:
        for op in await router.plan():
            sys.stdout.write(f"{op_text(op)}\n")

    fields = await once(state.sources(), show if dry else router.sync)
    log.info("routes planned" if dry else "routes synced", extra=dict(fields or {}))


def _cancel_on_signals() -> None:
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="romana-routed", description="Keeps this node's routes to the blocks of all nodes.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: /etc/romana/config.toml)")
    parser.add_argument("--once", action="store_true", help="sync one time and end")
    parser.add_argument("--dry-run", action="store_true", help="print what one sync would change, change nothing, and end")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
