"""All parts of ipamd, wired together on a store."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from ipam.allocation import Allocations
from ipam.claims import Claims
from ipam.commit import Committer
from ipam.nodes import Nodes
from ipam.picker import Picker
from ipam.reads import Reader
from ipam.releasing import Releases
from ipam.reservations import Reservations
from ipam.service_ipam import IpamService
from ipam.service_topology import TopologyService
from ipam.state import State
from ipam.topologies import Topologies
from ipam.upkeep import Upkeep
from romana import reconcile
from romana.errors import Unavailable
from romana.rpc.server import Health, new_server, start
from romana.store import schema
from romana.store.api import Store
from romana.store.opening import prepare
from romana.v1.ipam_pb2_grpc import add_IpamServicer_to_server
from romana.v1.topology_pb2_grpc import add_TopologyServicer_to_server

__all__ = ["Ipamd"]

log = logging.getLogger(__name__)

SERVICES = ("romana.v1.Ipam", "romana.v1.Topology")
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
    ) -> None:
        self._store = store
        self.state = State(clock, lag_s)
        reader = Reader(store, self.state.learn)
        committer = Committer(store, self.state.committed)
        claims = Claims(store, reader, self.state, committer, clock)
        picker = Picker(reader, self.state, claims, clock)
        admin = asyncio.Lock()
        self.topologies = Topologies(store, reader, self.state, admin, _now_ms)
        self.nodes = Nodes(store, reader, self.state, admin)
        self._upkeep = Upkeep(self.state, self.topologies, claims)
        self.allocations = Allocations(store, reader, self.state, committer, picker, _now_ms)
        self.releases = Releases(reader, self.state, committer, _now_ms, cooldown_s)
        self.reservations = Reservations(store, self.state, _now_ms)
        self._ipam = IpamService(store, reader, self.state, self.allocations, self.releases, self.reservations)
        self._topology = TopologyService(store, reader, self.state, self.topologies, self.nodes, clock)

    async def serve(self, listen: Sequence[str], stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let requests under way finish. Raises FatalError when it cannot go on."""
        server, health = new_server(SERVICES)
        add_IpamServicer_to_server(self._ipam, server)
        add_TopologyServicer_to_server(self._topology, server)
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
            await server.stop(GRACE_S)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        log.info("ipamd stopped")

    async def follow(self) -> None:
        """Keep the state up to date and look after nodes, until cancelled. Raises FatalError when it cannot go on."""
        await prepare(self._store, write_schema=True)
        sources = [reconcile.Source(prefix, partial(self.state.follow, self._store, prefix)) for prefix in self.state.prefixes]
        await reconcile.run("nodes", sources, self._upkeep.sync, PACE)

    async def _report(self, health: Health) -> None:
        """Health says whether a request could be served: everything read, and etcd answers with a quorum."""
        serving = None
        while True:
            now = self.state.whole and await self._reachable()
            if now != serving:
                log.info("health changed", extra={"serving": now})
                await health.set(serving=now)
                serving = now
            await asyncio.sleep(PROBE_S if now else PROBE_S / 10)

    async def _reachable(self) -> bool:
        try:
            await self._store.get(schema.KEY)
        except Unavailable:
            return False
        return True
