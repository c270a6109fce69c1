"""A client of several endpoints of one service: a call goes to the one that answered last, on `Unavailable` to the next.

Every call of our API is safe to repeat (idempotent by attachment, name or document), so a lost answer is simply asked for again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TypeVar

import grpc

from romana.errors import Unavailable
from romana.rpc.status import from_rpc_error

__all__ = ["Client", "open_channel"]

Answer = TypeVar("Answer")

Call = Callable[[grpc.aio.Channel, float], Awaitable[Answer]]

RETRY_PAUSE_S = 0.2

# gRPC core, "keepalive.md". 5 s is the least that our servers (and etcd) take without calling it an attack.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.enable_http_proxy", 0),
    # ListNodes and Show of 5,000 nodes are past the default of 4 MiB.
    ("grpc.max_receive_message_length", 64 * 2**20),
)


def open_channel(endpoint: str) -> grpc.aio.Channel:
    """A channel to one endpoint, with our keepalive and sizes; connected when first used."""
    return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)


def _ran_out(err: Unavailable) -> bool:
    cause = err.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() is grpc.StatusCode.DEADLINE_EXCEEDED


class Client:
    """Channels to the endpoints (gRPC targets, `host:port` or `unix:/path`), opened when first used."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def call(self, call: Call[Answer], timeout_s: float) -> Answer:
        """`await call(channel, seconds left)`, endpoint after endpoint, until one answers or the time is over.

        Raises what the service raised (romana.rpc.status), or Unavailable with the last words of an endpoint: those that came
        before the last attempt ran out of time tell more than that it did.
        """
        deadline, told = time.monotonic() + timeout_s, ""
        while True:
            for endpoint in tuple(self._endpoints):
                try:
                    return await self._once(endpoint, call, max(deadline - time.monotonic(), 0.05))
                except Unavailable as err:
                    self._move_back(endpoint)
                    told = told if told and _ran_out(err) else str(err)
                    if time.monotonic() >= deadline:
                        raise Unavailable(f"{told} (tried {', '.join(self._endpoints)} for {timeout_s:g} s)") from err
            await asyncio.sleep(RETRY_PAUSE_S)

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _once(self, endpoint: str, call: Call[Answer], left_s: float) -> Answer:
        if endpoint not in self._channels:
            self._channels[endpoint] = open_channel(endpoint)
        try:
            return await call(self._channels[endpoint], left_s)
        except grpc.aio.AioRpcError as err:
            raise from_rpc_error(err, endpoint) from err

    def _move_back(self, endpoint: str) -> None:
        self._endpoints.remove(endpoint)
        self._endpoints.append(endpoint)
