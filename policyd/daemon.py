"""The policy daemon, wired together. It removes no rule when it ends, and opens nothing before it knows all policies.

store: policies/, namespaces/, attachments/<node>/, pods/ and endpoints/ in scope --+
                                                                                    +--> loop --> Enforcer.sync --> kernel
kernel: looked at twice a second ---------------------------------------------------+                 |    |
                                                                     receipts/<node>/policyd <--------+    +--> Await answers
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from policyd.awaiting import AwaitService, Waiting
from policyd.iptables.dataplane import IptablesDataplane
from policyd.metrics import policyd_health
from policyd.state import State
from policyd.sync import Enforcer
from policyd.watchdog import drift
from romana import config, keys, logs
from romana.errors import ConfigError, RomanaError
from romana.health.daemon import Health
from romana.health.store_metrics import Watches, store_source
from romana.reconcile import Outcome, Pace, ReceiptWriter, Source, run
from romana.rpc.server import new_server, start
from romana.store import schema
from romana.store.api import Store
from romana.store.counts import StoreCounts
from romana.store.opening import open_store
from romana.store.settled import Settled
from romana.v1.policy_pb2_grpc import add_EnforcementServicer_to_server

__all__ = ["main"]

log = logging.getLogger(__name__)

SERVICE = "romana.v1.Enforcement"
BACKEND = "iptables"
PACE = Pace(resync_s=300.0, rest_s=0.005)  # a waiting ADD is worth more than one sync saved


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 after SIGTERM, 2 for a wrong configuration, 1 for any other error."""
    parser = argparse.ArgumentParser(prog="romana-policyd", description="Enforces network policy for the pods of this node.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: /etc/romana/config.toml)")
    flags = parser.parse_args(argv)
    try:
        settings = config.load(flags.config)
        node = config.node_name(settings)
    except ConfigError as err:
        sys.stderr.write(f"{err}\n")
        return 2
    logs.set_up(settings.log.level)
    status = 0
    try:
        asyncio.run(_until_stopped(settings, node))
    except* asyncio.CancelledError:
        log.info("stopped, the rules stay", extra={"node": node})
    except* RomanaError as group:
        status = 1
        for error in group.exceptions:
            log.error("policyd ends", extra={"error": str(error), "kind": type(error).__name__})  # noqa: TRY400
    return status


async def _until_stopped(settings: config.Config, node: str) -> None:
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    counts = StoreCounts()
    health = Health("policyd", settings.health.policyd, [store_source(counts)])
    async with health.serving():
        store = await open_store(
            settings.etcd.endpoints,
            settings.etcd.prefix,
            credentials=settings.etcd.credentials(),
            counts=counts,
            on_failure=health.starting,
        )
        try:
            with IptablesDataplane() as dataplane:
                await _serve(node, store, dataplane, settings.policy.socket, health, Watches(counts))
        finally:
            await store.close()


async def _serve(node: str, store: Store, dataplane: IptablesDataplane, socket: str, health: Health, watches: Watches) -> None:
    state, waiting, lock, outcome = State(store, node), Waiting(), asyncio.Lock(), Outcome()
    receipt = ReceiptWriter(store, keys.receipt(node, "policyd"), backend=BACKEND)
    enforcer = Enforcer(state, node, dataplane, waiting, receipt.report)
    policyd_health(health, store, watches, state, enforcer.counts, outcome)

    async def sync() -> Mapping[str, object]:
        async with lock:
            return await enforcer.sync()

    server, serving = new_server([SERVICE])
    add_EnforcementServicer_to_server(AwaitService(waiting, BACKEND), server)
    await start(server, [f"unix:{socket}"])
    await serving.set(serving=True)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receipt.run(), name="receipt")
            sources = [*state.sources(), Source("kernel", lambda: drift(dataplane, lock))]
            sources.append(Source(schema.KEY, partial(schema.follow, store)))
            tasks.create_task(run("policy", sources, outcome.guard(Settled(store).guard(sync)), PACE), name="policy")
    finally:
        await server.stop(grace=0)
