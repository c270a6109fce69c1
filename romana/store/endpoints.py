"""Channels to etcd's members: one at a time is in use, and a failure moves on to the next."""

import asyncio
import logging

import grpc.aio

from romana.errors import ConfigError, InvalidInput
from romana.store.credentials import Credentials, TlsFiles
from romana.store.etcdpb.rpc_pb2_grpc import AuthStub, KVStub, LeaseStub, MaintenanceStub, WatchStub
from romana.store.login import Login, Metadata

__all__ = ["Endpoint", "Endpoints"]

log = logging.getLogger(__name__)

OPTIONS = (
    # A frozen or vanished peer is noticed after 6 + 2 s; without ping_timeout_ms it is not noticed at all. etcd refuses pings
    # closer than 5 s (etcd v3.4, embed/config.go, DefaultGRPCKeepAliveMinTime), and at 5 s sharp a late ping makes the next one
    # early: GOAWAY too_many_pings was seen.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    # Without a call or a stream there is nobody to tell, and etcd answers such pings with GOAWAY too_many_pings (its enforcement
    # policy permits none without a stream, embed/etcd.go).
    ("grpc.keepalive_permit_without_calls", 0),
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

CLOSE_GRACE_S = 5.0  # for calls under way on a connection with the old certificate


class Endpoint:
    """One member: its gRPC target and the stubs on its channel."""

    def __init__(self, target: str, tls: TlsFiles | None, server_name: str, login: Login) -> None:
        self.target = target
        self.tls = tls
        self.answered = False
        """Whether it ever did: until then a connection that is closed may mean that one side wants TLS and the other does not."""
        self._login = login
        self.channel = _channel(target, tls, server_name)
        self.kv = KVStub(self.channel)
        self.watch = WatchStub(self.channel)
        self.lease = LeaseStub(self.channel)
        self.maintenance = MaintenanceStub(self.channel)
        self._auth = AuthStub(self.channel)

    @property
    def metadata(self) -> Metadata:
        """What goes with every call and stream."""
        return self._login.metadata

    @property
    def log_in_needed(self) -> bool:
        """Whether a call would have to wait for a token."""
        return self._login.needed

    async def log_in(self, timeout_s: float) -> None:
        """Have a token when one is needed. Raises Unavailable, and grpc's error when the call fails on its way."""
        await self._login.ensure(lambda request: self._auth.Authenticate(request, timeout=timeout_s))

    def token_refused(self, metadata: Metadata) -> None:
        """etcd does not take the token in this metadata."""
        self._login.refused(metadata)


class Endpoints:
    """The members in the order of the configuration; channels are made at first use (they need the running loop)."""

    def __init__(self, targets: tuple[str, ...], credentials: Credentials | None = None) -> None:
        """Raises InvalidInput without a target, and ConfigError for credentials that cannot be used."""
        if not targets:
            raise InvalidInput("no etcd endpoint is given; such as 'unix:/run/etcd.sock' or '127.0.0.1:2379'")
        self._targets = targets
        self._credentials = credentials or Credentials()
        self._credentials.check()
        self._tls = self._credentials.tls()
        self._login = Login(self._credentials)
        self._made: dict[str, Endpoint] = {}
        self._closing: set[asyncio.Task[None]] = set()
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
            self._made[target] = Endpoint(target, self._tls, self._credentials.server_name, self._login)
        return self._made[target]

    def failed(self, endpoint: Endpoint) -> None:
        """Move on to the next member, unless somebody has done so already. Calls under way on the old channel are left alone.

        Files of certificates that have changed are used from now on.
        """
        if self._targets[self._turn] == endpoint.target:
            self._turn = (self._turn + 1) % len(self._targets)
        self._read_tls_again()
        if endpoint.tls != self._tls and self._made.get(endpoint.target) is endpoint:
            del self._made[endpoint.target]
            closing = asyncio.create_task(endpoint.channel.close(grace=CLOSE_GRACE_S), name=f"close {endpoint.target}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _read_tls_again(self) -> None:
        try:
            self._tls = self._credentials.tls()
        except (ConfigError, OSError) as err:  # they are being replaced, perhaps: what we have may still do
            log.warning("certificate files cannot be used, keeping those read before", extra={"error": str(err)})

    async def close(self) -> None:
        """Close all channels; calls under way fail at once."""
        self._closed = True
        made, self._made = self._made, {}
        for endpoint in made.values():
            await endpoint.channel.close()
        for closing in tuple(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


def _channel(target: str, tls: TlsFiles | None, server_name: str) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    name = server_name or ("localhost" if target.startswith("unix:") else "")
    override = (("grpc.ssl_target_name_override", name),) if name else ()
    return grpc.aio.secure_channel(target, tls.channel_credentials(), options=(*OPTIONS, *override))
