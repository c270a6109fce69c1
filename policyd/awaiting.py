"""Answers the agent's `Await`: when policy is in force for an attachment of this node."""

import asyncio
from collections.abc import Mapping

import grpc

from romana import keys
from romana.errors import Unavailable
from romana.v1.policy_pb2 import AwaitRequest, AwaitResponse
from romana.v1.policy_pb2_grpc import EnforcementServicer

__all__ = ["AwaitService", "Waiting"]

Context = grpc.aio.ServicerContext[object, object]

DEADLINE_MARGIN_S = 0.1  # answer with our own words before the caller's deadline cuts them off
DEADLINE_DEFAULT_S = 30.0  # for a caller that set none


class Waiting:
    """Which attachments are in force, and those who wait for one. Told by the loop after each sync."""

    def __init__(self) -> None:
        self._in_force: Mapping[str, int] = {}
        self._applied: Mapping[str, int] = {}
        self._told = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, in_force: Mapping[str, int], applied: Mapping[str, int]) -> None:
        """Attachment keys with their revisions, as they are in the kernel now; and the revisions of the watched prefixes."""
        self._in_force, self._applied = in_force, applied
        task = asyncio.create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, key: str, revision: int, timeout_s: float) -> Mapping[str, int]:
        """The watched revisions, as soon as that attachment is in force; raises Unavailable when the time is over."""
        try:
            async with asyncio.timeout(timeout_s), self._told:
                await self._told.wait_for(lambda: self._in_force.get(key, -1) >= revision)
        except TimeoutError as err:
            raise Unavailable(f"policy is not in force for {key}: {self._why(key, revision)} (waited {timeout_s:.1f} s)") from err
        return self._applied

    def _why(self, key: str, revision: int) -> str:
        if not self._applied:
            return "policyd has not brought the kernel up to date yet; see its log"
        if key not in self._in_force:
            return "policyd does not know its Pod object or the attachment, or the pod is finished, or on the node's network"
        return f"an older attachment of revision {self._in_force[key]} is, revision {revision} is not yet"

    async def _wake(self) -> None:
        async with self._told:
            self._told.notify_all()


class AwaitService(EnforcementServicer):
    """The gRPC service on the node's own socket."""

    def __init__(self, waiting: Waiting, backend: str) -> None:
        self._waiting = waiting
        self._backend = backend

    async def Await(self, request: AwaitRequest, context: Context) -> AwaitResponse:  # noqa: N802
        """See policy.proto."""
        key = request.attachment
        name = keys.attachment(key.node, key.conf, key.container_id, key.ifname)
        left_s = context.time_remaining()
        timeout_s = max((DEADLINE_DEFAULT_S if left_s is None else left_s) - DEADLINE_MARGIN_S, 0.0)
        applied = await self._waiting.wait(name, request.revision, timeout_s)
        return AwaitResponse(applied=applied, backend=self._backend)
