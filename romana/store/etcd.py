"""The store on etcd's v3 API. See `romana.store.api` for the contract, docs/adr/0001-etcd-client.md for the reasons."""

import logging
import time
from collections.abc import AsyncGenerator, Sequence

from romana.errors import Compacted, Unavailable
from romana.store import limits, wire
from romana.store.api import Batch, Compare, KeyValue, Lease, Listing, Op, Status, TxnResult
from romana.store.calls import Calls
from romana.store.counts import StoreCounts
from romana.store.credentials import Credentials
from romana.store.endpoints import Endpoint, Endpoints
from romana.store.etcd_lease import EtcdLease
from romana.store.etcd_watch import EtcdWatch
from romana.store.etcdpb import rpc_pb2
from romana.store.history import History, Mark
from romana.store.keyspace import Keyspace

__all__ = ["DEFAULT_PREFIX", "EtcdStore"]

log = logging.getLogger(__name__)

DEFAULT_PREFIX = "/romana/v1/"
LIST_ATTEMPTS = 20  # a listing that is compacted under its pages this often in a row is not going to succeed


class EtcdStore:
    """A `Store` on etcd. Endpoints are gRPC targets: "unix:/path/socket" or "127.0.0.1:2379"; use it in one event loop only."""

    def __init__(
        self,
        endpoints: Sequence[str],
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = 5.0,
        credentials: Credentials | None = None,
        counts: StoreCounts | None = None,
    ) -> None:
        """`timeout_s` is the deadline of every call (of every page of a listing). Nothing is sent before the first call.

        `counts`: where to count calls and watches, for a daemon that shows it.
        Raises ConfigError for credentials that cannot be used."""
        self._endpoints = Endpoints(tuple(endpoints), credentials)
        self._counts = counts or StoreCounts()
        self._calls = Calls(self._endpoints, timeout_s, self._counts)
        self._space = Keyspace(prefix)
        self._history = History()
        self._leases: list[EtcdLease] = []

    @property
    def replaced(self) -> int:
        """How often another history answered than before."""
        return self._history.now.replaced

    async def get(self, key: str) -> KeyValue | None:
        """The key as it is now (linearizable), or None."""
        response = await self._range(f"get {key!r}", rpc_pb2.RangeRequest(key=self._space.encode(key)))
        return wire.key_value(self._space, response.kvs[0]) if response.kvs else None

    async def list(self, prefix: str, page_size: int = 500) -> Listing:
        """All keys below the prefix at one revision, read in pages; started again when that revision is compacted meanwhile."""
        for _ in range(LIST_ATTEMPTS):
            try:
                return await self._list_once(prefix, page_size)
            except Compacted:
                log.info("listing was compacted, starting again", extra={"prefix": prefix})
        raise Unavailable(f"list {prefix!r}: its revision was compacted between pages {LIST_ATTEMPTS} times")

    async def _list_once(self, prefix: str, page_size: int) -> Listing:
        start, end = self._space.encode(prefix), self._space.end(prefix, prefix=True)
        revision = 0
        items: list[KeyValue] = []
        while True:
            page = rpc_pb2.RangeRequest(key=start, range_end=end, limit=page_size, revision=revision)
            response = await self._range(f"list {prefix!r} at revision {revision}", page)
            revision = revision or response.header.revision
            items.extend(wire.key_value(self._space, kv) for kv in response.kvs)
            if not response.more:
                return Listing(revision, tuple(items))
            start = self._space.after(response.kvs[-1].key)

    async def count(self, prefix: str) -> int:
        """How many keys there are below the prefix; no value is sent."""
        start, end = self._space.encode(prefix), self._space.end(prefix, prefix=True)
        request = rpc_pb2.RangeRequest(key=start, range_end=end, count_only=True)
        return (await self._range(f"count {prefix!r}", request)).count

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Run `success` if every compare holds, else `failure`, atomically.

        Raises InvalidInput over the limits, NotFound when a put names a lease that is gone, Unavailable when it surely was not
        applied, and Ambiguous when the answer was lost: read back before trying again."""
        limits.check_txn(compares, success, failure)
        request = rpc_pb2.TxnRequest(
            compare=[wire.compare_message(self._space, compare) for compare in compares],
            success=[wire.op_message(self._space, op) for op in success],
            failure=[wire.op_message(self._space, op) for op in failure],
        )
        sent = self._history.now

        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.TxnResponse:
            return await endpoint.kv.Txn(request, timeout=timeout_s, metadata=endpoint.metadata)

        response = await self._calls.write(f"txn of {len(success)} operations", ask)
        self._history.observe(sent, response.header)
        return wire.txn_result(self._space, response)

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Every change below the prefix from `revision` on, for ever, without loss or repeat; ends when the store is closed.

        Raises Compacted when the history from `revision` on is not there: compacted, or etcd was restored from a backup."""
        replaced = self._history.now.replaced

        async def probe(at: int) -> Mark:
            key = self._space.encode(prefix)
            response = await self._range(f"probe at revision {at}", rpc_pb2.RangeRequest(key=key, revision=at))
            if self._history.now.replaced != replaced:
                raise Compacted(
                    f"watch of {prefix!r} from revision {at + 1}: etcd's history was replaced (restored from a backup?)"
                )
            return Mark.of(response.header)

        return EtcdWatch(self._endpoints, probe, self._space, prefix, revision, self._counts.watch(prefix)).batches()

    async def grant_lease(self, ttl_s: int) -> Lease:
        """A new lease, kept alive at a third of its time to live (which etcd may have made longer). Raises Unavailable."""
        limits.check_lease_ttl(ttl_s)

        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.LeaseGrantResponse:
            return await endpoint.lease.LeaseGrant(
                rpc_pb2.LeaseGrantRequest(TTL=ttl_s), timeout=timeout_s, metadata=endpoint.metadata
            )

        asked_at = time.monotonic()
        # Repeatable: a lease whose grant was lost ends by itself.
        response = await self._calls.repeatable(f"grant a lease of {ttl_s} s", ask)
        lease = EtcdLease(response.ID, response.TTL, asked_at, self._renew, self._revoke)
        self._leases = [*(old for old in self._leases if not old.ended), lease]
        return lease

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`; raises Compacted when that is gone already, or lies in the future."""

        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.CompactionResponse:
            request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
            return await endpoint.kv.Compact(request, timeout=timeout_s, metadata=endpoint.metadata)

        await self._calls.write(f"compact to revision {revision}", ask)

    async def status(self) -> Status:
        """Ask the member in use for its state; raises Unavailable."""

        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.StatusResponse:
            return await endpoint.maintenance.Status(rpc_pb2.StatusRequest(), timeout=timeout_s, metadata=endpoint.metadata)

        response = await self._calls.repeatable("status", ask)
        header = response.header
        return Status(
            version=response.version,
            cluster_id=header.cluster_id,
            member_id=header.member_id,
            revision=header.revision,
            db_size=response.dbSize,
            leader=response.leader,
            problems=tuple(response.errors),
        )

    async def close(self) -> None:
        """End all watches, leases' keepalives (not the leases) and connections."""
        leases, self._leases = self._leases, []
        for lease in leases:
            await lease.stop()
        await self._endpoints.close()

    async def _range(self, what: str, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        sent = self._history.now

        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.RangeResponse:
            return await endpoint.kv.Range(request, timeout=timeout_s, metadata=endpoint.metadata)

        response = await self._calls.repeatable(what, ask)
        self._history.observe(sent, response.header)
        return response

    async def _renew(self, lease_id: int) -> int:
        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.LeaseKeepAliveResponse:
            call = endpoint.lease.LeaseKeepAlive(timeout=timeout_s, metadata=endpoint.metadata)
            try:
                await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease_id))
                answer = await call.read()
            finally:
                call.cancel()
            if not isinstance(answer, rpc_pb2.LeaseKeepAliveResponse):
                raise Unavailable(f"keep lease {lease_id:x} alive: etcd ended the stream")
            return answer

        return (await self._calls.repeatable(f"keep lease {lease_id:x} alive", ask)).TTL

    async def _revoke(self, lease_id: int) -> None:
        async def ask(endpoint: Endpoint, timeout_s: float) -> rpc_pb2.LeaseRevokeResponse:
            return await endpoint.lease.LeaseRevoke(
                rpc_pb2.LeaseRevokeRequest(ID=lease_id), timeout=timeout_s, metadata=endpoint.metadata
            )

        await self._calls.repeatable(f"revoke lease {lease_id:x}", ask)
