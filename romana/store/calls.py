"""Unary calls to etcd, each with a deadline: repeatable ones are retried inside it, writes never once they may have been sent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc.aio

from romana.counting import outcome_of
from romana.errors import Ambiguous, RomanaError, Unavailable
from romana.store.backoff import pauses
from romana.store.counts import StoreCounts
from romana.store.endpoints import Endpoint, Endpoints
from romana.store.failures import TokenRefused, romana_error
from romana.store.login import HAS_LEADER, Metadata

__all__ = ["Calls", "cancelled_from_outside", "failure"]

ATTEMPT_S = 2.0
"""A member that is well answers within milliseconds, one on a slow disk within some hundred; after this the next one is asked."""

CLOSED = ("Socket closed", "Connection reset", "Broken pipe", "Handshake read failed", "Unwrap failed")
"""How a server that cannot make sense of us, or does not take our certificate (TLS 1.3 tells that last), ends a connection."""
CLOSED_WITH_TLS = "it may not speak TLS there (etcd.ca), or not take our client certificate (etcd.cert, etcd.key)"
CLOSED_WITHOUT_TLS = "it may speak nothing but TLS there: set etcd.ca"

R = TypeVar("R")
Request = Callable[[Endpoint, float], Awaitable[R]]
"""Starts the call on a member, with this many seconds to answer."""


class Calls:
    """Makes calls on the member in use and moves on to the next one when it fails.

    `what` of each call begins with one word that says its kind; by it the call is counted."""

    def __init__(self, endpoints: Endpoints, timeout_s: float, counts: StoreCounts | None = None) -> None:
        self._endpoints = endpoints
        self._counts = counts or StoreCounts()
        self._timeout_s = timeout_s
        self._attempt_s = min(timeout_s, ATTEMPT_S) if len(endpoints) > 1 else timeout_s

    async def repeatable(self, what: str, request: Request[R]) -> R:
        """The answer to a call that may be made twice, retried until the deadline; raises Unavailable after it.

        Where there is another member to ask, none is waited for longer than `ATTEMPT_S`: it may be frozen. When the last attempt
        ran out of time, what failed before it is raised: that tells more."""
        now = asyncio.get_running_loop().time
        deadline, told = now() + self._timeout_s, None
        for pause_s in pauses():
            try:
                return await self._once(what, request, min(self._attempt_s, deadline - now()), repeatable=True)
            except Unavailable as err:
                told = told if told and _ran_out(err) else err
                if self._endpoints.closed() or now() + pause_s >= deadline:
                    raise told from told.__cause__
            await asyncio.sleep(pause_s)
        raise AssertionError  # pauses() has no end

    async def write(self, what: str, request: Request[R]) -> R:
        """The answer to a call that must not be made twice: tried once on each member while it surely was not applied, and once
        more after a new log-in.

        Raises Unavailable when no member took it, Ambiguous when the answer was lost."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s
        left, log_ins = len(self._endpoints), 1
        while True:
            try:
                return await self._once(what, request, deadline - now(), repeatable=False)
            except TokenRefused:
                log_ins -= 1
                if log_ins < 0 or now() >= deadline:
                    raise
            except Unavailable:
                left -= 1
                if left == 0 or now() >= deadline:
                    raise

    async def _once(self, what: str, request: Request[R], timeout_s: float, repeatable: bool) -> R:
        now = asyncio.get_running_loop().time
        began_s, outcome = now(), "cancelled"
        try:
            answer = await self._attempt(what, request, timeout_s, repeatable)
            outcome = "ok"
        except RomanaError as err:
            outcome = outcome_of(err)
            raise
        finally:
            self._counts.calls.observe(now() - began_s, what.partition(" ")[0], outcome)
        return answer

    async def _attempt(self, what: str, request: Request[R], timeout_s: float, repeatable: bool) -> R:
        if self._endpoints.closed():
            raise Unavailable(f"{what}: the store is closed")
        endpoint, metadata, sent = self._endpoints.current(), HAS_LEADER, False
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        try:
            if endpoint.log_in_needed:  # a timeout of its own for nothing would cost as much as the rest of this
                await self._log_in(endpoint, min(self._attempt_s, timeout_s))
            metadata, sent = endpoint.metadata, True
            answer = await request(endpoint, deadline - now())
        except grpc.aio.AioRpcError as err:
            error = failure(err, endpoint, what, repeatable)
            self._note(endpoint, error, metadata)
            raise error from err
        except asyncio.CancelledError:
            if cancelled_from_outside() or not self._endpoints.closed():
                raise
            lost = Ambiguous if sent and not repeatable else Unavailable
            raise lost(f"{what}: the store was closed before the answer came") from None
        endpoint.answered = True
        return answer

    async def _log_in(self, endpoint: Endpoint, timeout_s: float) -> None:
        """Have a token; those that wait for another task's log-in wait no longer than for their own."""
        try:
            async with asyncio.timeout(timeout_s):
                await endpoint.log_in(timeout_s)
        except TimeoutError as err:
            self._endpoints.failed(endpoint)
            raise Unavailable(f"etcd {endpoint.target}: log in: no answer within {timeout_s:.1f} s") from err
        except grpc.aio.AioRpcError as err:
            error = failure(err, endpoint, "log in", repeatable=True)
            self._endpoints.failed(endpoint)
            raise error if isinstance(error, Unavailable) else Unavailable(str(error)) from err

    def _note(self, endpoint: Endpoint, error: RomanaError, metadata: Metadata) -> None:
        if isinstance(error, TokenRefused):
            endpoint.token_refused(metadata)
        elif isinstance(error, Unavailable | Ambiguous):
            self._endpoints.failed(endpoint)


def failure(err: grpc.aio.AioRpcError, endpoint: Endpoint, what: str, repeatable: bool) -> RomanaError:
    """Our error for a failed call or stream."""
    details = err.details() or ""
    if not endpoint.answered and any(text in details for text in CLOSED):
        details += f"; {CLOSED_WITH_TLS if endpoint.tls else CLOSED_WITHOUT_TLS}"
    return romana_error(err.code(), details, f"etcd {endpoint.target}: {what}", repeatable)


def _ran_out(err: RomanaError) -> bool:
    cause = err.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def cancelled_from_outside() -> bool:
    """Whether this task itself was cancelled; closing a channel makes grpc.aio raise CancelledError too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
