"""Topology, nodes and blocks as the store's bytes (romana.v1.store), and back; `ipam.codec_address` has the rest.

Reading never fails on one bad key, or one key would stop all of ipamd: what cannot be read is logged and stands for "taken by
somebody", so that it is never given out. Only a topology that cannot be read ends the process: a newer ipamd wrote it.
"""

import logging
from ipaddress import ip_address, ip_network
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from ipam.records import BlockRecord, NodeRecord, ReservationRecord, Share, TopologyRecord
from ipam.topology.placement import Placement
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import FatalError, InvalidInput
from romana.store.api import KeyValue
from romana.v1 import store_pb2

__all__ = [
    "node_message",
    "parse",
    "read_block",
    "read_node",
    "read_reservation",
    "read_topology",
    "timestamp",
    "unreadable",
    "write_block",
    "write_node",
    "write_reservation",
    "write_topology",
]

log = logging.getLogger(__name__)

Proto = TypeVar("Proto", bound=Message)


def read_topology(item: KeyValue) -> TopologyRecord:
    """The topology in force; raises FatalError when this program cannot read it."""
    record = parse(store_pb2.TopologyRecord, item)
    try:
        document = read_document(record.document)
    except InvalidInput as err:
        raise FatalError(f"the topology in the store cannot be read by this version of ipamd: {err}") from err
    return TopologyRecord.of(document, record.generation)


def write_topology(record: TopologyRecord, applied_ms: int) -> bytes:
    """Value of `topology`."""
    message = store_pb2.TopologyRecord(document=record.raw, generation=record.generation, applied=timestamp(applied_ms))
    return message.SerializeToString()


def read_node(item: KeyValue) -> NodeRecord:
    """A node; one that cannot be read has no uid and no placements."""
    message = parse(store_pb2.Node, item)
    try:
        placements = tuple(
            Placement(place.network, place.group_path, place.group_name, ip_network(place.group_cidr), place.kept)
            for place in message.placements
        )
        addresses = tuple(ip_address(text) for text in message.addresses)
    except ValueError as err:
        unreadable(item, err)
        placements, addresses = (), ()
    labels = tuple(sorted(message.labels.items()))
    draining = message.state == store_pb2.NODE_STATE_DRAINING
    return NodeRecord(item.key.removeprefix(keys.NODES), message.uid, addresses, labels, placements, draining)


def node_message(node: NodeRecord) -> store_pb2.Node:
    """The node as the API shows it and the store holds it."""
    return store_pb2.Node(
        name=node.name,
        uid=node.uid,
        addresses=[str(address) for address in node.addresses],
        labels=dict(node.labels),
        placements=map(_placement_message, node.placements),
        state=store_pb2.NODE_STATE_DRAINING if node.draining else store_pb2.NODE_STATE_READY,
    )


def _placement_message(place: Placement) -> store_pb2.Placement:
    return store_pb2.Placement(
        network=place.network, group_path=place.path, group_name=place.name, group_cidr=str(place.cidr), kept=place.kept
    )


def write_node(node: NodeRecord) -> bytes:
    """Value of `nodes/<node>`."""
    return node_message(node).SerializeToString()


def read_block(item: KeyValue) -> BlockRecord:
    """A block and its owner; raises InvalidInput only when the key itself is none."""
    message = parse(store_pb2.Block, item)
    network, cidr = keys.parse_block(item.key)
    return BlockRecord(network, cidr, message.node, message.node_uid, Share(message.tenant, message.segment))


def write_block(block: BlockRecord) -> bytes:
    """Value of `blocks/<network>/<cidr>`."""
    share = block.share
    message = store_pb2.Block(node=block.node, node_uid=block.node_uid, tenant=share.tenant, segment=share.segment)
    return message.SerializeToString()


def read_reservation(item: KeyValue) -> ReservationRecord:
    """A reservation; raises InvalidInput only when the key itself is none."""
    message = parse(store_pb2.Reservation, item)
    network, cidr = keys.parse_reservation(item.key)
    return ReservationRecord(network, cidr, message.note, message.since.ToMilliseconds(), message.confirmed)


def write_reservation(reservation: ReservationRecord) -> bytes:
    """Value of `reservations/<network>/<cidr>`."""
    since = timestamp(reservation.since_ms)
    return store_pb2.Reservation(note=reservation.note, since=since, confirmed=reservation.confirmed).SerializeToString()


def timestamp(milliseconds: int) -> Timestamp:
    """A protobuf timestamp; `milliseconds` UTC since 1970."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def parse(kind: type[Proto], item: KeyValue) -> Proto:
    """The value as a message; an empty one, and a line in the log, when it is none."""
    try:
        return kind.FromString(item.value)
    except DecodeError as err:
        unreadable(item, err)
        return kind()


def unreadable(item: KeyValue, err: Exception) -> None:
    """Tell a person about a damaged key."""
    log.error("key in the store cannot be read; counted as taken", extra={"key": item.key, "error": str(err)})
