"""The gRPC service `romana.v1.Ipam`: requests in, answers out."""

import grpc

from ipam import codec, codec_address, requests
from ipam.allocation import Allocations
from ipam.lookup import Found, look_up
from ipam.reads import Reader
from ipam.reasserts import Reasserts
from ipam.recovery import Recovery
from ipam.releasing import Releases
from ipam.service_recovery import RecoveryCalls
from ipam.state import State
from romana.v1 import ipam_pb2

__all__ = ["IpamService"]

Context = grpc.aio.ServicerContext[object, object]


class IpamService(RecoveryCalls):
    """See ipam.proto; errors become statuses in romana.rpc."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        allocations: Allocations,
        releases: Releases,
        recovery: Recovery,
        reasserts: Reasserts,
    ) -> None:
        super().__init__(state, recovery, reasserts)
        self._reader = reader
        self._state = state
        self._allocations = allocations
        self._releases = releases

    async def Allocate(self, request: ipam_pb2.AllocateRequest, context: Context) -> ipam_pb2.AllocateResponse:  # noqa: N802, ARG002
        """Gives an attachment its addresses, durably, before it answers."""
        granted = await self._allocations.allocate(requests.read_allocate(request))
        return ipam_pb2.AllocateResponse(
            addresses=[codec_address.assigned_message(address) for address in granted.record.addresses],
            host_interface=granted.record.id.host_interface,
            revision=granted.revision,
            existing=granted.existing,
            history=granted.history,
        )

    async def Release(self, request: ipam_pb2.ReleaseRequest, context: Context) -> ipam_pb2.ReleaseResponse:  # noqa: N802, ARG002
        """Takes an attachment's addresses back."""
        released = await self._releases.release(requests.read_attachment(request.attachment))
        return ipam_pb2.ReleaseResponse(
            released=released.released,
            addresses=[codec_address.assigned_message(address) for address in released.addresses],
            revision=released.revision,
        )

    async def Lookup(self, request: ipam_pb2.LookupRequest, context: Context) -> ipam_pb2.LookupResponse:  # noqa: N802, ARG002
        """Says all there is to know of one address."""
        return _lookup_response(await look_up(self._reader, self._state, requests.read_address(request.ip)))


def _lookup_response(found: Found) -> ipam_pb2.LookupResponse:
    response = ipam_pb2.LookupResponse(state=_state(found), network=found.network)
    if found.prefix:
        response.group_path, response.group_name = found.prefix.path, found.prefix.name
    if found.block:
        response.block, response.node = str(found.block.cidr), found.block.node
    if found.record:
        response.since.CopyFrom(codec.timestamp(found.record.since_ms))
        if found.record.attachment:
            response.attachment.CopyFrom(codec_address.attachment_key_message(found.record.attachment))
        if found.record.pod:
            response.pod.CopyFrom(codec_address.pod_message(found.record.pod))
        if found.record.released_ms is not None:
            response.released.CopyFrom(codec.timestamp(found.record.released_ms))
    return response


def _state(found: Found) -> "ipam_pb2.LookupState.ValueType":
    if found.record:
        return ipam_pb2.LOOKUP_STATE_HELD if found.record.held else ipam_pb2.LOOKUP_STATE_COOLING
    if found.block:
        return ipam_pb2.LOOKUP_STATE_FREE
    return ipam_pb2.LOOKUP_STATE_UNCLAIMED if found.network else ipam_pb2.LOOKUP_STATE_OUTSIDE
