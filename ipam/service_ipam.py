"""The gRPC service `romana.v1.Ipam`: requests in, answers out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc

from ipam import codec_address, requests
from ipam.allocation import Allocations, Granted, Wanted
from ipam.check.presences import HeardPresences
from ipam.counts import IpamCounts, timed
from ipam.inventory import Inventory
from ipam.listing import attachments_of
from ipam.reads import Reader
from ipam.reasserts import Reasserts
from ipam.recovery import Recovery
from ipam.releasing import Releases
from ipam.reservations import Reservations
from ipam.service_inventory import InventoryCalls
from ipam.service_recovery import RecoveryCalls
from ipam.state import State
from romana.counting import outcome_of
from romana.errors import RomanaError
from romana.rpc.status import reason_of, to_details, to_status_code
from romana.store.api import Store
from romana.v1 import ipam_pb2

__all__ = ["IpamService"]

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Context = grpc.aio.ServicerContext[object, object]


class IpamService(InventoryCalls, RecoveryCalls):
    """See ipam.proto; errors become statuses in romana.rpc."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        state: State,
        allocations: Allocations,
        releases: Releases,
        reservations: Reservations,
        recovery: Recovery,
        reasserts: Reasserts,
        presences: HeardPresences,
        inventory: Inventory,
        counts: IpamCounts,
    ) -> None:
        super().__init__(state, recovery, reasserts, presences)
        self._inventory = inventory
        self.counts = counts
        self._store = store
        self._reader = reader
        self._state = state
        self._allocations = allocations
        self._releases = releases
        self._reservations = reservations

    async def Allocate(self, request: ipam_pb2.AllocateRequest, context: Context) -> ipam_pb2.AllocateResponse:  # noqa: N802, ARG002
        """Gives an attachment its addresses, durably, before it answers."""
        return await self._allocate(request)

    async def AllocateBatch(  # noqa: N802
        self,
        request: ipam_pb2.AllocateBatchRequest,
        context: Context,  # noqa: ARG002
    ) -> ipam_pb2.AllocateBatchResponse:
        """Allocate for many, each by itself."""
        requests.check_batch(len(request.requests))
        began_s = time.monotonic()
        wanted = [_tried(requests.read_allocate, each) for each in request.requests]
        asked = [each for each in wanted if isinstance(each, Wanted)]
        granted = iter(await self._allocations.allocate_all(asked))
        took_s = time.monotonic() - began_s
        response = ipam_pb2.AllocateBatchResponse()
        for each in wanted:
            outcome = next(granted) if isinstance(each, Wanted) else each
            self.counts.calls.observe(took_s, "Allocate", outcome_of(outcome) if isinstance(outcome, Exception) else "ok")
            if isinstance(outcome, RomanaError):
                response.outcomes.add().error.CopyFrom(_refused("AllocateBatch", outcome))
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                _fill(response.outcomes.add().response, outcome)
        return response

    async def Release(self, request: ipam_pb2.ReleaseRequest, context: Context) -> ipam_pb2.ReleaseResponse:  # noqa: N802, ARG002
        """Takes an attachment's addresses back."""
        return await self._release(request)

    async def ReleaseBatch(  # noqa: N802
        self,
        request: ipam_pb2.ReleaseBatchRequest,
        context: Context,  # noqa: ARG002
    ) -> ipam_pb2.ReleaseBatchResponse:
        """Release for many, each by itself."""
        answers = await _each("ReleaseBatch", request.requests, self._release)
        outcomes = (
            ipam_pb2.ReleaseOutcome(error=answer)
            if isinstance(answer, ipam_pb2.RequestError)
            else ipam_pb2.ReleaseOutcome(response=answer)
            for answer in answers
        )
        return ipam_pb2.ReleaseBatchResponse(outcomes=outcomes)

    async def ListAttachments(  # noqa: N802
        self,
        request: ipam_pb2.ListAttachmentsRequest,
        context: Context,  # noqa: ARG002
    ) -> ipam_pb2.ListAttachmentsResponse:
        """The attachments of one node."""
        revision, found = await attachments_of(self._store, requests.read_node_name(request.node, "node"))
        return ipam_pb2.ListAttachmentsResponse(attachments=found, revision=revision)

    async def Reserve(self, request: ipam_pb2.ReserveRequest, context: Context) -> ipam_pb2.ReserveResponse:  # noqa: N802, ARG002
        """Keeps addresses from being given out."""
        cidr = requests.read_reservation(request.cidr, request.note)
        record, revision, existing = await self._reservations.reserve(cidr, request.note)
        return ipam_pb2.ReserveResponse(network=record.network, cidr=str(cidr), revision=revision, existing=existing)

    async def ReleaseReservation(  # noqa: N802
        self,
        request: ipam_pb2.ReleaseReservationRequest,
        context: Context,  # noqa: ARG002
    ) -> ipam_pb2.ReleaseReservationResponse:
        """Ends a reservation."""
        network, revision = await self._reservations.release(requests.read_reservation(request.cidr, ""))
        return ipam_pb2.ReleaseReservationResponse(network=network, revision=revision)

    @timed("Allocate")
    async def _allocate(self, request: ipam_pb2.AllocateRequest) -> ipam_pb2.AllocateResponse:
        response = ipam_pb2.AllocateResponse()
        _fill(response, await self._allocations.allocate(requests.read_allocate(request)))
        return response

    @timed("Release")
    async def _release(self, request: ipam_pb2.ReleaseRequest) -> ipam_pb2.ReleaseResponse:
        released = await self._releases.release(requests.read_attachment(request.attachment))
        return ipam_pb2.ReleaseResponse(
            released=released.released,
            addresses=[codec_address.assigned_message(address) for address in released.addresses],
            revision=released.revision,
        )


async def _each(
    method: str, wanted: Sequence[Request], call: Callable[[Request], Awaitable[Answer]]
) -> list[Answer | ipam_pb2.RequestError]:
    """The answers of a batch, in order; one that is refused leaves the others alone."""
    requests.check_batch(len(wanted))

    async def one(request: Request) -> Answer | ipam_pb2.RequestError:
        try:
            return await call(request)
        except RomanaError as err:
            return _refused(method, err)

    return await asyncio.gather(*map(one, wanted))


def _tried(read: Callable[[Request], Answer], request: Request) -> Answer | RomanaError:
    try:
        return read(request)
    except RomanaError as err:
        return err


def _refused(method: str, err: RomanaError) -> ipam_pb2.RequestError:
    log.info("request of a batch refused", extra={"method": method, "error": str(err), "reason": reason_of(err)})
    code: int = to_status_code(err).value[0]
    return ipam_pb2.RequestError(code=code, message=to_details(err), reason=reason_of(err))


def _fill(response: ipam_pb2.AllocateResponse, granted: Granted) -> None:
    """Filled in place: a message that is put into another is copied."""
    for address in granted.record.addresses:
        response.addresses.add(network=address.network, ip=address.text, block=address.block_text)
    response.host_interface = granted.record.id.host_interface
    response.revision = granted.revision
    response.existing = granted.existing
    response.history = granted.history
