"""The token that etcd gives for user and password, renewed when etcd no longer takes it.

    no token ──Authenticate──→ token ──on every call and stream──→ "invalid auth token" ──→ no token

A simple token ends 5 minutes after its last use and with the member that made it; a JWT at the time that is written in it. Nobody
tells us beforehand, so the refusal is what renews it: nothing was applied, and the call is made again.
Source: etcd v3.4, auth/simple_token.go, etcdserver/api/v3rpc/rpctypes/error.go.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc.aio

from romana.errors import ConfigError, Unavailable
from romana.store.credentials import Credentials
from romana.store.etcdpb import rpc_pb2

__all__ = ["HAS_LEADER", "Login", "Metadata"]

log = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str], ...]

# On every call and stream: without it a member that has lost its quorum keeps a watch open and silent.
HAS_LEADER: Metadata = (("hasleader", "true"),)

NOT_ENABLED = "authentication is not enabled"  # etcd then takes calls of anybody

Authenticate = Callable[[rpc_pb2.AuthenticateRequest], Awaitable[rpc_pb2.AuthenticateResponse]]


class Login:
    """One process's log-in, shared by its connections to all members. Without a user there is nothing to do."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._lock = asyncio.Lock()
        self._needed = bool(credentials.user)
        self._token = ""

    @property
    def metadata(self) -> Metadata:
        """What goes with every call and stream."""
        return (*HAS_LEADER, ("token", self._token)) if self._token else HAS_LEADER

    @property
    def needed(self) -> bool:
        """Whether there is no token where one is needed."""
        return self._needed

    async def ensure(self, authenticate: Authenticate) -> None:
        """Log in unless there is a token already. Raises Unavailable, and grpc's error when the call fails on its way."""
        if not self._needed:
            return
        async with self._lock:
            if self._needed:
                self._token = await self._ask(authenticate)
                self._needed = False

    def refused(self, metadata: Metadata) -> None:
        """etcd does not take what this call went with: log in before the next one. Without effect when somebody has since."""
        if self._credentials.user and metadata == self.metadata:
            self._token = ""
            self._needed = True

    async def _ask(self, authenticate: Authenticate) -> str:
        user = self._credentials.user
        try:
            password = self._credentials.password()
        except ConfigError as err:  # it is being replaced, perhaps
            raise Unavailable(f"cannot log in to etcd as {user!r}: {err}") from err
        try:
            answer = await authenticate(rpc_pb2.AuthenticateRequest(name=user, password=password))
        except grpc.aio.AioRpcError as err:
            if err.code() is grpc.StatusCode.FAILED_PRECONDITION and NOT_ENABLED in (err.details() or ""):
                log.warning("etcd.user is set, but etcd has no authentication enabled: going on without a log-in")
                return ""
            raise
        log.info("logged in to etcd", extra={"user": user})
        return answer.token
