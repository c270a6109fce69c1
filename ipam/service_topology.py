"""The gRPC service `romana.v1.Topology`: requests in, answers out."""

from collections.abc import AsyncIterator, Callable

import grpc

from ipam import requests
from ipam.codec import node_message
from ipam.full_watch import FullWatch
from ipam.listing import attachments_of
from ipam.moving import node_moves
from ipam.node_life import NodeLife
from ipam.nodes import Nodes
from ipam.orphans import returning
from ipam.plans import plan_message
from ipam.reads import Reader
from ipam.records import BlockRecord, NodeRecord
from ipam.show import (
    block_message,
    full_message,
    left_messages,
    pending_message,
    prefix_messages,
    returning_message,
)
from ipam.standing import full_now
from ipam.state import State
from ipam.topologies import Topologies
from ipam.topology.carving import carve
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import InvalidInput, NotFound
from romana.store.api import Store
from romana.v1 import node_pb2, topology_pb2
from romana.v1.topology_pb2_grpc import TopologyServicer

__all__ = ["TopologyService"]

LEFT_MAX = 100  # attachments named in an answer

Context = grpc.aio.ServicerContext[object, object]


class TopologyService(TopologyServicer):
    """See topology.proto; errors become statuses in romana.rpc. What it shows is read from the store first: never old."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        state: State,
        topologies: Topologies,
        nodes: Nodes,
        life: NodeLife,
        full: FullWatch,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._topologies = topologies
        self._nodes = nodes
        self._life = life
        self._full = full
        self._clock = clock
        self._now_ms = now_ms

    async def Apply(self, request: topology_pb2.ApplyRequest, context: Context) -> topology_pb2.ApplyResponse:  # noqa: N802, ARG002
        """Puts a document in force, or refuses it and leaves the old one in force."""
        applied = await self._topologies.apply(read_document(request.document))
        return topology_pb2.ApplyResponse(generation=applied.generation, changed=applied.changed, revision=applied.revision)

    async def Check(self, request: topology_pb2.CheckRequest, context: Context) -> topology_pb2.CheckResponse:  # noqa: N802, ARG002
        """Says what Apply would say; changes nothing."""
        try:
            document = read_document(request.document)
        except InvalidInput as err:
            return topology_pb2.CheckResponse(ok=False, faults=_faults(err))
        await self._refresh(keys.TOPOLOGY, keys.NODES, keys.BLOCKS)
        change = self._topologies.plan(document)
        if change.refusals or change.given_back:  # it is about addresses
            await self._refresh(keys.ADDRESSES)
            change = self._topologies.plan(document)
        prefixes = prefix_messages(carve(document), change.placements, self._blocks())
        given_back = [str(block) for block in change.given_back]
        return topology_pb2.CheckResponse(
            ok=not change.refusals, refusals=change.refusals, prefixes=prefixes, given_back=given_back
        )

    async def Plan(self, request: topology_pb2.PlanRequest, context: Context) -> topology_pb2.PlanResponse:  # noqa: N802, ARG002
        """Says what Apply would do, part by part; changes nothing."""
        try:
            document = read_document(request.document)
        except InvalidInput as err:
            return topology_pb2.PlanResponse(changed=True, faults=_faults(err))
        revision = await self._refresh(keys.TOPOLOGY, keys.NODES, keys.BLOCKS, keys.ADDRESSES)
        return plan_message(self._state, document, self._topologies.plan(document), revision)

    async def Show(self, request: topology_pb2.ShowRequest, context: Context) -> topology_pb2.ShowResponse:  # noqa: N802, ARG002
        """Gives the document in force and the prefixes that follow from it."""
        revision = await self._refresh(keys.TOPOLOGY, keys.NODES, keys.BLOCKS)
        topology = self._state.in_force()
        if topology is None:
            return topology_pb2.ShowResponse(revision=revision)
        placements = {row.value.name: row.value.placements for row in self._state.nodes.rows.values()}
        return topology_pb2.ShowResponse(
            document=topology.value.raw,
            generation=topology.value.generation,
            prefixes=prefix_messages(topology.value.prefixes, placements, self._blocks()),
            revision=revision,
            full=map(full_message, full_now(self._state, self._clock())),
            returning=self._returning(),
            pending=self._pending(*(row.value for row in self._state.nodes.rows.values())),
        )

    async def WatchFull(self, request: topology_pb2.WatchFullRequest, context: Context) -> AsyncIterator[topology_pb2.FullGroups]:  # noqa: N802, ARG002
        """Tells which groups are full, at once and after each change."""
        async for groups in self._full.follow():
            yield topology_pb2.FullGroups(groups=map(full_message, groups))

    async def ListNodes(self, request: node_pb2.ListNodesRequest, context: Context) -> node_pb2.ListNodesResponse:  # noqa: N802, ARG002
        """Nodes in the order of their names."""
        revision = await self._refresh(keys.NODES)
        nodes = sorted((row.value for row in self._state.nodes.rows.values()), key=lambda node: node.name)
        pending = self._pending(*nodes)
        return node_pb2.ListNodesResponse(nodes=[node_message(node) for node in nodes], revision=revision, pending=pending)

    async def GetNode(self, request: node_pb2.GetNodeRequest, context: Context) -> node_pb2.GetNodeResponse:  # noqa: N802, ARG002
        """One node with its blocks."""
        self._state.require_whole()
        name = requests.read_node_name(request.name)
        await self._reader.read(keys.node(name))
        row = self._state.node(name)
        if row is None:
            raise NotFound(f"node {name} is not known (no key {keys.node(name)})", reason="NODE_UNKNOWN")
        owned = self._state.occupancy.owned(row.value.uid)
        return node_pb2.GetNodeResponse(
            node=node_message(row.value),
            blocks=[block_message(network, block, self._clock()) for network, block in owned],
            pending=self._pending(row.value),
        )

    async def AddNode(self, request: node_pb2.AddNodeRequest, context: Context) -> node_pb2.AddNodeResponse:  # noqa: N802, ARG002
        """Adds a node and places it in the topology."""
        added = await self._nodes.add(*requests.read_node(request))
        pending = self._pending(added.node)
        return node_pb2.AddNodeResponse(
            node=node_message(added.node), changed=added.changed, revision=added.revision, pending=pending
        )

    async def DrainNode(self, request: node_pb2.DrainNodeRequest, context: Context) -> node_pb2.DrainNodeResponse:  # noqa: N802, ARG002
        """Lets a node have no new addresses, or again."""
        node, revision = await self._life.drain(requests.read_node_name(request.name), draining=not request.undo)
        _, left = await attachments_of(self._store, node.name)
        return node_pb2.DrainNodeResponse(
            node=node_message(node),
            attachments=len(left),
            revision=revision,
            left=left_messages(left[:LEFT_MAX]),
            pending=self._pending(node),
        )

    async def RemoveNode(self, request: node_pb2.RemoveNodeRequest, context: Context) -> node_pb2.RemoveNodeResponse:  # noqa: N802, ARG002
        """Removes a node without attachments, or with them by force."""
        found = await self._life.remove(requests.read_node_name(request.name), uid=request.uid, force=request.force)
        return node_pb2.RemoveNodeResponse(removed=found.removed, released=found.released, revision=found.revision)

    def _pending(self, *nodes: NodeRecord) -> list[node_pb2.PendingMove]:
        topology = self._state.in_force()
        if topology is None:
            return []
        return [pending_message(move) for node in nodes for move in node_moves(self._state, topology.value, node)]

    def _returning(self) -> list[topology_pb2.ReturningBlock]:
        now_s, now_ms = self._clock(), self._now_ms()
        return [returning_message(block, now_s, now_ms) for block in returning(self._state, now_s)]

    async def _refresh(self, *prefixes: str) -> int:
        """Read these anew; the answer is a revision at which what the state then says of them is true or newer."""
        self._state.require_whole()
        return min([await self._state.reload(self._store, prefix) for prefix in prefixes])

    def _blocks(self) -> list[BlockRecord]:
        return [row.value for row in self._state.blocks.rows.values()]


def _faults(err: InvalidInput) -> list[topology_pb2.DocumentFault]:
    return [topology_pb2.DocumentFault(path=fault.path, message=fault.message) for fault in err.faults]
