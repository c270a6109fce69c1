"""Channels to etcd's members: one at a time is in use, and a failure moves on to the next."""

import grpc.aio

from romana.errors import InvalidInput
from romana.store.etcdpb.rpc_pb2_grpc import KVStub, LeaseStub, MaintenanceStub, WatchStub

__all__ = ["HAS_LEADER", "Endpoint", "Endpoints"]

# On every call and stream: without it a member that has lost its quorum keeps a watch open and silent.
HAS_LEADER = (("hasleader", "true"),)

OPTIONS = (
    # A frozen or vanished peer is noticed after 6 + 2 s; without ping_timeout_ms it is not noticed at all. etcd refuses pings
    # closer than 5 s (etcd v3.4, embed/config.go, DefaultGRPCKeepAliveMinTime), and at 5 s sharp a late ping makes the next one
    # early: GOAWAY too_many_pings was seen.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The "min" one is in effect the timeout of connecting.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # The default of 4 MiB breaks watches and pages; etcd caps one fragment at 1.5 MB but one revision can be more.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    # Two stores of one process must not share connections and their back-off; a node's http_proxy is not for etcd.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class Endpoint:
    """One member: its gRPC target and the stubs on its channel."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self.kv = KVStub(self.channel)
        self.watch = WatchStub(self.channel)
        self.lease = LeaseStub(self.channel)
        self.maintenance = MaintenanceStub(self.channel)


class Endpoints:
    """The members in the order of the configuration; channels are made at first use (they need the running loop)."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        if not targets:
            raise InvalidInput("no etcd endpoint is given; such as 'unix:/run/etcd.sock' or '127.0.0.1:2379'")
        self._targets = targets
        self._made: dict[str, Endpoint] = {}
        self._turn = 0
        self._closed = False

    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __len__(self) -> int:
        return len(self._targets)

    def current(self) -> Endpoint:
        """The member in use."""
        target = self._targets[self._turn]
        if target not in self._made:
            self._made[target] = Endpoint(target)
        return self._made[target]

    def failed(self, endpoint: Endpoint) -> None:
        """Move on to the next member, unless somebody has done so already. Calls under way on the old channel are left alone."""
        if self._targets[self._turn] == endpoint.target:
            self._turn = (self._turn + 1) % len(self._targets)

    async def close(self) -> None:
        """Close all channels; calls under way fail at once."""
        self._closed = True
        made, self._made = self._made, {}
        for endpoint in made.values():
            await endpoint.channel.close()
