"""Calls to one ipamd of several, as their answers or our errors; a call that gets no answer in time is `Unavailable`."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import grpc

from romana.errors import RomanaError
from romana.rpc.client import open_channel
from romana.rpc.status import error_of, from_rpc_error, reason_of
from romana.v1 import ipam_pb2, store_pb2
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.topology_pb2_grpc import TopologyStub

if TYPE_CHECKING:
    from romana.v1.ipam_pb2_grpc import IpamAsyncStub
    from romana.v1.topology_pb2_grpc import TopologyAsyncStub

__all__ = ["Calls", "addresses_of"]

Answer = TypeVar("Answer")
Outcome = ipam_pb2.AllocateOutcome | ipam_pb2.ReleaseOutcome


class Calls:
    """`operations` counts what was asked and answered, each request of a batch by itself; `outcomes` how."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets = targets
        self.operations = 0
        self.outcomes: Counter[str] = Counter()
        self._channels = [open_channel(target) for target in targets]
        self._ipam: list[IpamAsyncStub] = [IpamStub(channel) for channel in self._channels]
        self._topology: list[TopologyAsyncStub] = [TopologyStub(channel) for channel in self._channels]

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels:
            await channel.close()

    async def ipam(self, at: int, call: "Callable[[IpamAsyncStub], Awaitable[Answer]]") -> Answer:
        """A call of the allocation API; raises our errors."""
        return await self._call(at, call(self._ipam[at]))

    async def topology(self, at: int, call: "Callable[[TopologyAsyncStub], Awaitable[Answer]]") -> Answer:
        """A call of the topology API; raises our errors."""
        return await self._call(at, call(self._topology[at]))

    async def allocate(self, at: int, request: ipam_pb2.AllocateRequest, timeout_s: float) -> ipam_pb2.AllocateResponse:
        """Allocate for one."""
        return await self._counted("allocate", self.ipam(at, lambda stub: stub.Allocate(request, timeout=timeout_s)))

    async def release(self, at: int, key: store_pb2.AttachmentKey, timeout_s: float) -> ipam_pb2.ReleaseResponse:
        """Release one."""
        request = ipam_pb2.ReleaseRequest(attachment=key)
        return await self._counted("release", self.ipam(at, lambda stub: stub.Release(request, timeout=timeout_s)))

    async def allocate_batch(
        self, at: int, requests: Sequence[ipam_pb2.AllocateRequest], timeout_s: float
    ) -> list[ipam_pb2.AllocateResponse | RomanaError]:
        """Allocate for many; each one's answer or error, in order."""
        batch = ipam_pb2.AllocateBatchRequest(requests=requests)
        answer = await self.ipam(at, lambda stub: stub.AllocateBatch(batch, timeout=timeout_s))
        return [self._outcome("allocate", outcome, outcome.response) for outcome in answer.outcomes]

    async def release_batch(
        self, at: int, attachments: Sequence[store_pb2.AttachmentKey], timeout_s: float
    ) -> list[ipam_pb2.ReleaseResponse | RomanaError]:
        """Release many; each one's answer or error, in order."""
        batch = ipam_pb2.ReleaseBatchRequest(requests=[ipam_pb2.ReleaseRequest(attachment=key) for key in attachments])
        answer = await self.ipam(at, lambda stub: stub.ReleaseBatch(batch, timeout=timeout_s))
        return [self._outcome("release", outcome, outcome.response) for outcome in answer.outcomes]

    async def _call(self, at: int, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as err:
            raise from_rpc_error(err, self.targets[at]) from err

    async def _counted(self, what: str, call: Awaitable[Answer]) -> Answer:
        try:
            answer = await call
        except RomanaError as err:
            self._count(what, reason_of(err))
            raise
        self._count(what, "answered")
        return answer

    def _outcome(self, what: str, outcome: Outcome, response: Answer) -> Answer | RomanaError:
        if outcome.WhichOneof("outcome") == "response":
            self._count(what, "answered")
            return response
        error = error_of(outcome.error.code, outcome.error.message, outcome.error.reason)
        self._count(what, reason_of(error))
        return error

    def _count(self, what: str, how: str) -> None:
        self.operations += how != "UNAVAILABLE"
        self.outcomes[f"{what}: {how}"] += 1


def addresses_of(answer: ipam_pb2.AllocateResponse) -> tuple[str, ...]:
    """The addresses of an answer."""
    return tuple(address.ip for address in answer.addresses)
