"""All parts of ipamd, wired together on a store."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from ipam.allocation import Allocations
from ipam.check.presences import HeardPresences
from ipam.check.reconciler import Reconciler
from ipam.check.reconciler import follow as follow_leaks
from ipam.check.repairs import Repairs
from ipam.check.service import CheckService
from ipam.claims import Claims
from ipam.commit import Committer
from ipam.counts import IpamCounts
from ipam.full_watch import FullWatch
from ipam.inventory import Inventory
from ipam.journal import Journal
from ipam.moving import Moving
from ipam.node_life import NodeLife
from ipam.nodes import Nodes
from ipam.picker import Picker
from ipam.readiness import Readiness
from ipam.reads import Reader
from ipam.reasserts import Reasserts
from ipam.rebase import Rebase
from ipam.recovery import Recovery
from ipam.recovery import follow as follow_recovery
from ipam.releasing import Releases
from ipam.reservations import Reservations
from ipam.service_ipam import IpamService
from ipam.service_topology import TopologyService
from ipam.spares import Spares
from ipam.state import State
from ipam.topologies import Topologies
from ipam.upkeep import Upkeep
from romana import reconcile
from romana.health.conditions import all_met
from romana.health.store_metrics import Watches, etcd_evidence
from romana.rpc.server import Health, new_server, start
from romana.store import schema
from romana.store.api import Store
from romana.store.counts import StoreCounts
from romana.store.opening import prepare
from romana.v1.check_pb2_grpc import add_CheckServicer_to_server
from romana.v1.ipam_pb2_grpc import add_IpamServicer_to_server
from romana.v1.topology_pb2_grpc import add_TopologyServicer_to_server

__all__ = ["Ipamd"]

log = logging.getLogger(__name__)

SERVICES = ("romana.v1.Ipam", "romana.v1.Topology", "romana.v1.Check")
RECOVERY_S = 1.0  # how often to look whether the store was restored, and how far a recovery is
PROBE_S = 1.0  # how often health asks etcd
GRACE_S = 5.0  # how long requests under way may take when ipamd is told to stop
PACE = reconcile.Pace(resync_s=1.0, rest_s=0.05)  # a sync with nobody due costs nothing


def _lag_s() -> float:
    """How long to leave a node to the ipamd that changed it."""
    return random.uniform(0.2, 1.0)  # noqa: S311 - spreads load; no secret


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ipamd:
    """ipamd on a store. `clock` is monotonic, in seconds; tests give their own, and their own `lag_s`."""

    def __init__(
        self,
        store: Store,
        cooldown_s: int,
        clock: Callable[[], float] = time.monotonic,
        lag_s: Callable[[], float] = _lag_s,
        restore_hold_s: float = 30.0,
        recovery_s: float = RECOVERY_S,
        check_interval_s: float = 0.0,
        check_apart_s: float = 30.0,
        store_counts: StoreCounts | None = None,
    ) -> None:
        """`store_counts`: what the store counts of itself."""
        self._store = store
        self._recovery_s = recovery_s
        self.state = State(clock, lag_s)
        reader = Reader(store, self.state.learn)
        self.counts = IpamCounts()
        committer = Committer(store, self.state.committed, self.counts.sent)
        self._rebase = Rebase(self.state.forget)
        self.recovery = Recovery(
            store, reader, self.state.node_names, clock, _now_ms, restore_hold_s, replaced=self._rebase.replaced
        )
        claims = Claims(store, reader, self.state, committer, clock)
        picker = Picker(reader, self.state, claims, clock)
        admin = asyncio.Lock()
        self.topologies = Topologies(store, reader, self.state, admin, _now_ms)
        self.nodes = Nodes(store, reader, self.state, admin)
        self.allocations = Allocations(store, reader, self.state, committer, picker, self.recovery, _now_ms)
        self.releases = Releases(reader, self.state, committer, _now_ms, cooldown_s)
        self.life = NodeLife(store, reader, self.state, self.releases, admin)
        self.spares = Spares(store, self.state, clock)
        self.full = FullWatch(self.state, clock)
        self.moving = Moving(store, self.state, admin)
        background = (self.life, self.spares, self.moving, self.full, Journal(store, _now_ms))
        self._upkeep = Upkeep(self.state, self.topologies, claims, *background, clock)
        self.reservations = Reservations(store, self.state, _now_ms)
        reasserts = Reasserts(store, reader, committer, self.recovery, self.releases, _now_ms)
        inventory = Inventory(store, self.state, clock, _now_ms)
        acting = (self.allocations, self.releases, self.reservations)
        self._etcd = etcd_evidence(store)
        self.readiness = Readiness(self._etcd, Watches(store_counts or StoreCounts()), self.state, self.recovery)
        presences = HeardPresences(clock)
        repairs = Repairs(store, committer, _now_ms, cooldown_s)
        self._check = CheckService(self.state, presences, repairs)
        self.reconciler = Reconciler(store, self.state, presences, repairs, clock, check_apart_s)
        self._check_s = (check_interval_s, check_apart_s)
        self._ipam = IpamService(store, reader, self.state, *acting, self.recovery, reasserts, presences, inventory, self.counts)
        self._topology = TopologyService(
            store, reader, self.state, self.topologies, self.nodes, self.life, self.full, clock, _now_ms
        )

    async def serve(self, listen: Sequence[str], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let requests under way finish. Raises FatalError when it cannot go on."""
        server, health = new_server(SERVICES)
        add_IpamServicer_to_server(self._ipam, server)
        add_TopologyServicer_to_server(self._topology, server)
        add_CheckServicer_to_server(self._check, server)
        await health.set(serving=False)
        await start(server, listen)
        log.info("ipamd listens", extra={"listen": list(listen)})
        work = [
            asyncio.create_task(self.follow(), name="follow"),
            asyncio.create_task(self._report(health), name="health"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await health.set(serving=False)
            self.full.close()
            await server.stop(GRACE_S)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._etcd.close()
        log.info("ipamd stopped")

    async def follow(self) -> None:
        """Keep the state up to date and look after nodes, until cancelled. Raises FatalError when it cannot go on."""
        await prepare(self._store, write_schema=True)
        sources = [reconcile.Source(prefix, partial(self._follow, prefix)) for prefix in self.state.prefixes]
        sources.append(reconcile.Source(schema.KEY, partial(schema.follow, self._store)))
        recovering = asyncio.create_task(follow_recovery(self.recovery, self._recovery_s), name="recovery")
        nodes = asyncio.create_task(reconcile.run("nodes", sources, self._upkeep.sync, PACE), name="nodes")
        leaks = asyncio.create_task(follow_leaks(self.reconciler, *self._check_s), name="leaks")
        await _first_of(recovering, nodes, leaks)

    def _follow(self, prefix: str) -> AsyncIterator[None]:
        return self._rebase.follow(self.state.follow(self._store, prefix))

    async def _report(self, health: Health) -> None:
        """Health says what `/readyz` does: whether a request could be served."""
        serving = None
        while True:
            now = all_met(await self.readiness.conditions())
            if now != serving:
                log.info("health changed", extra={"serving": now})
                await health.set(serving=now)
                serving = now
            await asyncio.sleep(PROBE_S if now else PROBE_S / 10)


async def _first_of(*tasks: "asyncio.Task[None]") -> None:
    """Run tasks that never end; the first to fail ends all, and its own error is what is raised."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
