"""An ipamd in memory that behaves: idempotent by attachment, refuses unknown nodes and pods, and can be made to fail."""

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

import grpc

from romana.errors import Exhausted, NotFound, RomanaError
from romana.names import host_interface
from romana.rpc.server import new_server, start
from romana.rpc.status import to_status_code
from romana.v1 import check_pb2, ipam_pb2, node_pb2, store_pb2
from romana.v1.ipam_pb2_grpc import IpamServicer, add_IpamServicer_to_server

Key = tuple[str, str, str, str]


@dataclass
class FakeIpamd:
    """State and levers; `listen` serves it. `failures` are raised, one a call, before anything is done."""

    node: str = "node-1"
    addresses: tuple[str, ...] = ("198.18.0.2",)
    network: IPv4Network = field(default_factory=lambda: IPv4Network("10.40.0.0/28"))
    pods: set[tuple[str, str]] = field(default_factory=set)
    held: dict[Key, str] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    """An entry is one address, or one of each family with a comma between them."""
    failures: dict[str, list[RomanaError]] = field(default_factory=dict)
    delay_s: dict[str, float] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """A call waits until the event of its method is set."""
    calls: list[tuple[str, Key]] = field(default_factory=list)
    requests: list[ipam_pb2.AllocateRequest] = field(default_factory=list)
    known: bool = True
    reasserted: list[ipam_pb2.ReassertRequest] = field(default_factory=list)
    conflicts: list[ipam_pb2.ReassertConflict] = field(default_factory=list)
    """What `Reassert` answers."""
    history: str = "history-1"
    revision: int = 7
    question: int = 0
    """What `Recovery` asks: which interfaces are there; 0: nothing."""
    presences: list[check_pb2.Presence] = field(default_factory=list)
    """What it was told."""
    batches: bool = False
    """Whether it knows AllocateBatch, ReleaseBatch and ListAttachments."""
    sizes: list[int] = field(default_factory=list)
    """Of the batches that came."""
    boots: dict[Key, str] = field(default_factory=dict)
    _server: "grpc.aio.Server | None" = None

    def __post_init__(self) -> None:
        self.free = [str(ip) for ip in self.network.hosts()]

    async def listen(self, target: str) -> None:
        """Serve on a gRPC address."""
        self._server, health = new_server(["romana.v1.Ipam"])
        ipam = _Ipam(self)
        add_IpamServicer_to_server(ipam, self._server)
        self._server.add_generic_rpc_handlers((_topology(self),))
        self._server.add_generic_rpc_handlers((_batches(ipam),))
        await start(self._server, [target])
        await health.set(serving=True)

    async def stop(self) -> None:
        """Go away, state and all levers kept: `listen` again to come back."""
        if self._server:
            await self._server.stop(None)
            self._server = None

    async def enter(self, method: str, key: Key) -> None:
        """What every call does first."""
        self.calls.append((method, key))
        await self.meet(method)

    async def meet(self, method: str) -> None:
        """What every call does; those that the agent makes by itself are in no list of `calls`."""
        await asyncio.sleep(self.delay_s.get(method, 0))
        if method in self.gates:
            await self.gates[method].wait()
        if self.failures.get(method):
            raise self.failures[method].pop(0)


def key_of(attachment: store_pb2.AttachmentKey) -> Key:
    """A key that can be hashed."""
    return attachment.node, attachment.conf, attachment.container_id, attachment.ifname


class _Ipam(IpamServicer):
    def __init__(self, fake: FakeIpamd) -> None:
        self._fake = fake

    async def Allocate(self, request: ipam_pb2.AllocateRequest, context: object) -> ipam_pb2.AllocateResponse:  # noqa: N802
        fake, key = self._fake, key_of(request.attachment)
        await fake.enter("Allocate", key)
        fake.requests.append(request)
        if request.HasField("pod") and (request.pod.namespace, request.pod.name) not in fake.pods:
            raise NotFound(f"pod {request.pod.namespace}/{request.pod.name} is not in the store")
        existing = key in fake.held
        if not existing and not fake.free:
            raise Exhausted(f"no address left in {fake.network}")
        fake.boots[key] = request.boot_id
        ip = fake.held.setdefault(key, fake.held.get(key) or fake.free.pop(0))
        addresses = [store_pb2.AssignedAddress(network="pods", ip=one, block=str(fake.network)) for one in ip.split(",")]
        name = host_interface(*key)
        return ipam_pb2.AllocateResponse(
            addresses=addresses, host_interface=name, revision=7, existing=existing, history=fake.history
        )

    async def Release(self, request: ipam_pb2.ReleaseRequest, context: object) -> ipam_pb2.ReleaseResponse:  # noqa: N802
        key = key_of(request.attachment)
        await self._fake.enter("Release", key)
        ip = self._fake.held.pop(key, None)
        if ip:
            self._fake.free.append(ip)
        return ipam_pb2.ReleaseResponse(released=ip is not None)

    async def Lookup(self, request: ipam_pb2.LookupRequest, context: object) -> ipam_pb2.LookupResponse:  # noqa: N802
        await self._fake.enter("Lookup", ("", "", "", ""))
        for key, ip in self._fake.held.items():
            if request.ip in ip.split(","):
                node, conf, container_id, ifname = key
                attachment = store_pb2.AttachmentKey(node=node, conf=conf, container_id=container_id, ifname=ifname)
                return ipam_pb2.LookupResponse(state=ipam_pb2.LOOKUP_STATE_HELD, attachment=attachment)
        return ipam_pb2.LookupResponse(state=ipam_pb2.LOOKUP_STATE_FREE)

    async def Reassert(self, request: ipam_pb2.ReassertRequest, context: object) -> ipam_pb2.ReassertResponse:  # noqa: N802
        await self._fake.meet("Reassert")
        self._fake.reasserted.append(request)
        return ipam_pb2.ReassertResponse(history=self._fake.history, revision=self._fake.revision, conflicts=self._fake.conflicts)

    async def Recovery(self, request: ipam_pb2.RecoveryRequest, context: object) -> ipam_pb2.RecoveryResponse:  # noqa: N802
        await self._fake.meet("Recovery")
        other = request.seen_history not in {"", self._fake.history}
        if request.HasField("presence"):
            self._fake.presences.append(request.presence)
            self._fake.question = 0
        return ipam_pb2.RecoveryResponse(
            history=self._fake.history,
            revision=self._fake.revision,
            reassert=other,
            presence_wanted=self._fake.question,
        )

    async def GiveUpNode(self, request: ipam_pb2.GiveUpNodeRequest, context: object) -> ipam_pb2.GiveUpNodeResponse:  # noqa: N802
        raise NotFound("the agent gives up no node")

    async def Usage(self, request: ipam_pb2.UsageRequest, context: Any) -> ipam_pb2.UsageResponse:  # noqa: N802
        raise NotFound("the agent does not ask for it")

    async def ListReservations(  # noqa: N802
        self, request: ipam_pb2.ListReservationsRequest, context: Any
    ) -> ipam_pb2.ListReservationsResponse:
        raise NotFound("the agent does not ask for it")

    async def Reserve(self, request: ipam_pb2.ReserveRequest, context: Any) -> ipam_pb2.ReserveResponse:  # noqa: N802
        raise NotFound("the agent reserves nothing")

    async def ReleaseReservation(  # noqa: N802
        self, request: ipam_pb2.ReleaseReservationRequest, context: Any
    ) -> ipam_pb2.ReleaseReservationResponse:
        raise NotFound("the agent reserves nothing")

    async def AllocateBatch(  # noqa: N802
        self, batch: ipam_pb2.AllocateBatchRequest, context: Any
    ) -> ipam_pb2.AllocateBatchResponse:
        await self._must_know_batches(context)
        outcomes = []
        for request in batch.requests:
            try:
                outcomes.append(ipam_pb2.AllocateOutcome(response=await self.Allocate(request, context)))
            except RomanaError as err:
                error = ipam_pb2.RequestError(code=to_status_code(err).value[0], message=str(err))
                outcomes.append(ipam_pb2.AllocateOutcome(error=error))
        self._fake.sizes.append(len(batch.requests))
        return ipam_pb2.AllocateBatchResponse(outcomes=outcomes)

    async def ReleaseBatch(  # noqa: N802
        self, batch: ipam_pb2.ReleaseBatchRequest, context: Any
    ) -> ipam_pb2.ReleaseBatchResponse:
        await self._must_know_batches(context)
        outcomes = [ipam_pb2.ReleaseOutcome(response=await self.Release(request, context)) for request in batch.requests]
        self._fake.sizes.append(len(batch.requests))
        return ipam_pb2.ReleaseBatchResponse(outcomes=outcomes)

    async def ListAttachments(  # noqa: N802
        self, request: ipam_pb2.ListAttachmentsRequest, context: Any
    ) -> ipam_pb2.ListAttachmentsResponse:
        await self._must_know_batches(context)
        found = []
        for key in self._fake.held:
            node, conf, container_id, ifname = key
            name = store_pb2.AttachmentKey(node=node, conf=conf, container_id=container_id, ifname=ifname)
            found.append(store_pb2.Attachment(key=name, boot_id=self._fake.boots.get(key, "")))
        return ipam_pb2.ListAttachmentsResponse(attachments=found)

    async def _must_know_batches(self, context: Any) -> None:
        if not self._fake.batches:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "an older ipamd")


def _topology(fake: FakeIpamd) -> grpc.GenericRpcHandler:
    """GetNode alone: the agent calls no other method."""

    async def get_node(request: node_pb2.GetNodeRequest, context: object) -> node_pb2.GetNodeResponse:
        await fake.enter("GetNode", (request.name, "", "", ""))
        if not fake.known or request.name != fake.node:
            raise NotFound(f"there is no node {request.name}")
        return node_pb2.GetNodeResponse(node=store_pb2.Node(name=fake.node, uid="uid-1", addresses=fake.addresses))

    method = grpc.unary_unary_rpc_method_handler(
        get_node, node_pb2.GetNodeRequest.FromString, node_pb2.GetNodeResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("romana.v1.Topology", {"GetNode": method})


def _batches(ipam: _Ipam) -> grpc.GenericRpcHandler:
    """The calls that the generated service may not have yet."""
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "AllocateBatch": (ipam.AllocateBatch, ipam_pb2.AllocateBatchRequest, ipam_pb2.AllocateBatchResponse),
        "ReleaseBatch": (ipam.ReleaseBatch, ipam_pb2.ReleaseBatchRequest, ipam_pb2.ReleaseBatchResponse),
        "ListAttachments": (ipam.ListAttachments, ipam_pb2.ListAttachmentsRequest, ipam_pb2.ListAttachmentsResponse),
    }
    methods = {
        name: grpc.unary_unary_rpc_method_handler(call, question.FromString, answer.SerializeToString)
        for name, (call, question, answer) in kinds.items()
    }
    return grpc.method_handlers_generic_handler("romana.v1.Ipam", methods)
