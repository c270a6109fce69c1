"""The calls of `romana.v1.Ipam` that show addresses and change nothing: requests in, answers out."""

import grpc

from ipam import codec, codec_address, requests
from ipam.inventory import Inventory, Reserved
from ipam.lookup import Found, look_up
from ipam.reads import Reader
from ipam.state import State
from ipam.usage import GroupUsage, NetworkUsage, NodeUsage, Tally
from romana.keys import Address
from romana.v1 import ipam_pb2
from romana.v1.ipam_pb2_grpc import IpamServicer

__all__ = ["InventoryCalls"]

Context = grpc.aio.ServicerContext[object, object]

NUMBER_MAX = 2**64 - 1  # of a uint64: IPv6 has more addresses than that


class InventoryCalls(IpamServicer):
    """See ipam.proto. Whoever inherits sets what it reads from."""

    _reader: Reader
    _state: State
    _inventory: Inventory

    async def Lookup(self, request: ipam_pb2.LookupRequest, context: Context) -> ipam_pb2.LookupResponse:  # noqa: N802, ARG002
        """Says all there is to know of one address."""
        ip = requests.read_address(request.ip)
        return _lookup_message(await look_up(self._reader, self._state, self._inventory, ip), ip)

    async def Usage(self, request: ipam_pb2.UsageRequest, context: Context) -> ipam_pb2.UsageResponse:  # noqa: N802, ARG002
        """How full networks, groups and nodes are."""
        found, revision = await self._inventory.usage()
        return ipam_pb2.UsageResponse(
            networks=[_network_message(row) for row in found.networks],
            groups=[_group_message(row) for row in found.groups],
            nodes=[_node_message(row) for row in found.nodes],
            revision=revision,
        )

    async def ListReservations(  # noqa: N802
        self,
        request: ipam_pb2.ListReservationsRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> ipam_pb2.ListReservationsResponse:
        """What is reserved."""
        found, revision = await self._inventory.reservations()
        return ipam_pb2.ListReservationsResponse(reservations=[_reservation_message(one) for one in found], revision=revision)


def _network_message(row: NetworkUsage) -> ipam_pb2.NetworkUsage:
    padded = min(row.padded, NUMBER_MAX)
    return ipam_pb2.NetworkUsage(network=row.network, cidr=str(row.cidr), counts=_counts(row.tally), padded=padded)


def _group_message(row: GroupUsage) -> ipam_pb2.GroupUsage:
    group = row.group
    return ipam_pb2.GroupUsage(
        network=group.network,
        path=group.path,
        name=group.name,
        cidr=str(group.cidr),
        block_mask=group.block_mask,
        nodes=row.nodes,
        counts=_counts(row.tally),
    )


def _node_message(row: NodeUsage) -> ipam_pb2.NodeUsage:
    return ipam_pb2.NodeUsage(
        network=row.network, node=row.node, group_path=row.path, draining=row.draining, counts=_counts(row.tally)
    )


def _counts(tally: Tally) -> ipam_pb2.AddressCounts:
    return ipam_pb2.AddressCounts(
        total=min(tally.total, NUMBER_MAX),
        allocated=tally.allocated,
        cooling=tally.cooling,
        reserved=min(tally.reserved, NUMBER_MAX),
        free=min(tally.free, NUMBER_MAX),
        blocks_used=tally.blocks_used,
        blocks_left=min(tally.blocks_left, NUMBER_MAX),
    )


def _reservation_message(one: Reserved) -> ipam_pb2.ReservationEntry:
    record = one.record
    entry = ipam_pb2.ReservationEntry(
        network=record.network,
        cidr=str(record.cidr),
        note=record.note,
        confirmed=record.confirmed,
        by_topology=one.by_topology,
    )
    if not one.by_topology:
        entry.since.CopyFrom(codec.timestamp(record.since_ms))
    return entry


def _lookup_message(found: Found, ip: Address) -> ipam_pb2.LookupResponse:
    response = ipam_pb2.LookupResponse(state=_state(found))
    if found.network:
        response.network = found.network.name
        response.first_of_network = ip == found.network.cidr.network_address
        response.last_of_network = ip == found.network.cidr.broadcast_address
    if found.prefix:
        response.group_path, response.group_name, response.pad = found.prefix.path, found.prefix.name, found.prefix.pad
    if found.block:
        response.block, response.node = str(found.block.cidr), found.block.node
    if found.reserved:
        response.reservation = str(found.reserved.record.cidr)
        response.reservation_note = found.reserved.record.note
        response.reserved_by_topology = found.reserved.by_topology
    _add_record(response, found)
    return response


def _add_record(response: ipam_pb2.LookupResponse, found: Found) -> None:
    if found.record is None:
        return
    response.since.CopyFrom(codec.timestamp(found.record.since_ms))
    if found.record.attachment:
        response.attachment.CopyFrom(codec_address.attachment_key_message(found.record.attachment))
    if found.record.pod:
        response.pod.CopyFrom(codec_address.pod_message(found.record.pod))
    if found.record.released_ms is not None:
        response.released.CopyFrom(codec.timestamp(found.record.released_ms))
    if found.cooling_until_ms is not None:
        response.cooling_until.CopyFrom(codec.timestamp(found.cooling_until_ms))


def _state(found: Found) -> "ipam_pb2.LookupState.ValueType":
    if found.record and found.record.held:
        return ipam_pb2.LOOKUP_STATE_HELD
    if found.reserved:
        return ipam_pb2.LOOKUP_STATE_RESERVED
    if found.cooling_until_ms is not None:
        return ipam_pb2.LOOKUP_STATE_COOLING
    if found.block:
        return ipam_pb2.LOOKUP_STATE_FREE
    return ipam_pb2.LOOKUP_STATE_UNCLAIMED if found.network else ipam_pb2.LOOKUP_STATE_OUTSIDE
