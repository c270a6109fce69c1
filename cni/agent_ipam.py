"""What the agent asks ipamd, in the agent's own words."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from cni.agent_batches import Batches
from cni.agent_ledger import Grant, GrantedAddress, Ledger
from cni.request import AttachmentId, PodId
from romana.errors import NotFound, Refused, RomanaError
from romana.netlink.ip import IPAddress, IPInterface
from romana.rpc.client import Client
from romana.rpc.status import error_of
from romana.v1.ipam_pb2 import (
    LOOKUP_STATE_HELD,
    AllocateBatchRequest,
    AllocateBatchResponse,
    AllocateRequest,
    AllocateResponse,
    ListAttachmentsRequest,
    ListAttachmentsResponse,
    LookupRequest,
    LookupResponse,
    ReleaseBatchRequest,
    ReleaseBatchResponse,
    ReleaseRequest,
    ReleaseResponse,
    RequestError,
)
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.node_pb2 import GetNodeRequest, GetNodeResponse
from romana.v1.store_pb2 import AttachmentKey, PodRef
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["Allocation", "Ipam", "NodeUnknown"]

Question = TypeVar("Question", bound=Message)
Answer = TypeVar("Answer", bound=Message)


class NodeUnknown(NotFound):
    """ipamd does not know this node: somebody must add it."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """This node as ipamd has it."""

    uid: str
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an attachment got."""

    addresses: tuple[IPInterface, ...]
    """/32 or /128, one or both families."""
    host_interface: str
    existing: bool
    revision: int
    """etcd revision of the attachment."""


class Ipam:
    """ipamd, for one node. Every call raises what ipamd answered (romana.rpc.status), `Unavailable` when it did not."""

    def __init__(self, client: Client, node: str, boot_id: str, ledger: Ledger) -> None:
        self._client = client
        self._node = node
        self.boot_id = boot_id
        self._ledger = ledger
        self._identity: NodeIdentity | None = None
        self._identity_is_fresh = False
        self._allocating = Batches(self._allocate_one, self._allocate_many)
        self._releasing = Batches(self._release_one, self._release_many)

    async def identity(self, timeout_s: float, *, anew: bool = False) -> NodeIdentity:
        """This node's uid and addresses, asked for once unless `anew`; raises NodeUnknown."""
        if self._identity is None or anew:
            request = GetNodeRequest(name=self._node)

            async def ask() -> GetNodeResponse:
                return await self._client.call(lambda channel, s: TopologyStub(channel).GetNode(request, timeout=s), timeout_s)

            try:
                found = (await ask()).node
            except NotFound as err:
                raise NodeUnknown(f"node {self._node} is not known to ipamd: {err}", reason="NODE_UNKNOWN") from err
            self._identity = NodeIdentity(found.uid, tuple(ip_address(address) for address in found.addresses))
            self._identity_is_fresh = True
        return self._identity

    async def allocate(
        self, attachment: AttachmentId, pod: PodId | None, timeout_s: float, networks: Sequence[str] = ()
    ) -> Allocation:
        """Addresses for an attachment, durable when this returns; the same ones if it has some.

        A refusal may come from a node that was made anew under its name since we asked for its uid: we ask for both again, once.
        """
        deadline = time.monotonic() + timeout_s
        identity = await self.identity(timeout_s)
        is_fresh, self._identity_is_fresh = self._identity_is_fresh, False
        sight = self._ledger.sight
        request = AllocateRequest(
            attachment=self._key(attachment),
            node_uid=identity.uid,
            boot_id=self.boot_id,
            networks=networks,
            seen_history=sight.history,
            seen_revision=sight.revision,
        )
        if pod is not None:
            request.pod.CopyFrom(PodRef(namespace=pod.namespace, name=pod.name, uid=pod.uid))
        try:
            answer = await self._allocating.ask(request, deadline - time.monotonic())
        except (NotFound, Refused) as err:
            self._identity = None
            if is_fresh or isinstance(err, NotFound):
                raise
            return await self.allocate(attachment, pod, deadline - time.monotonic(), networks)
        self._remember(attachment, pod, answer)
        addresses = tuple(_host_address(address.ip) for address in answer.addresses)
        return Allocation(addresses, answer.host_interface, answer.existing, answer.revision)

    def _remember(self, attachment: AttachmentId, pod: PodId | None, answer: AllocateResponse) -> None:
        """Before anybody uses the address: a restored store has to be told of it (cni/agent_reassert.py)."""
        granted = tuple(GrantedAddress(address.network, address.ip, address.block) for address in answer.addresses)
        self._ledger.granted(attachment, Grant(pod, granted))
        self._ledger.saw(answer.history, answer.revision)

    async def release(self, attachment: AttachmentId, timeout_s: float) -> bool:
        """Take an attachment's addresses back; False when there was nothing to take."""
        request = ReleaseRequest(attachment=self._key(attachment))
        return (await self._releasing.ask(request, timeout_s)).released

    async def attachments(self, timeout_s: float) -> Mapping[AttachmentId, str] | None:
        """All of this node's with the boot that they were made in; None when ipamd does not know that call."""
        call = _Call("ListAttachments", ListAttachmentsRequest, ListAttachmentsResponse)
        answer = await call.ask(self._client, ListAttachmentsRequest(node=self._node), timeout_s)
        if answer is None:
            return None
        keys = ((found.key, found.boot_id) for found in answer.attachments)
        return {AttachmentId(key.conf, key.container_id, key.ifname): boot_id for key, boot_id in keys}

    async def holds(self, attachment: AttachmentId, address: IPAddress, timeout_s: float) -> bool:
        """True when the address is this attachment's."""
        request = LookupRequest(ip=str(address))

        async def ask() -> LookupResponse:
            return await self._client.call(lambda channel, s: IpamStub(channel).Lookup(request, timeout=s), timeout_s)

        answer = await ask()
        return answer.state == LOOKUP_STATE_HELD and answer.attachment == self._key(attachment)

    def _key(self, attachment: AttachmentId) -> AttachmentKey:
        key = attachment
        return AttachmentKey(node=self._node, conf=key.conf, container_id=key.container_id, ifname=key.ifname)

    async def _allocate_one(self, request: AllocateRequest, timeout_s: float) -> AllocateResponse:
        return await self._client.call(lambda channel, s: IpamStub(channel).Allocate(request, timeout=s), timeout_s)

    async def _allocate_many(
        self, requests: Sequence[AllocateRequest], timeout_s: float
    ) -> list[AllocateResponse | RomanaError] | None:
        call = _Call("AllocateBatch", AllocateBatchRequest, AllocateBatchResponse)
        answer = await call.ask(self._client, AllocateBatchRequest(requests=requests), timeout_s)
        if answer is None:
            return None
        return [_error(found.error) if found.HasField("error") else found.response for found in answer.outcomes]

    async def _release_one(self, request: ReleaseRequest, timeout_s: float) -> ReleaseResponse:
        return await self._client.call(lambda channel, s: IpamStub(channel).Release(request, timeout=s), timeout_s)

    async def _release_many(
        self, requests: Sequence[ReleaseRequest], timeout_s: float
    ) -> list[ReleaseResponse | RomanaError] | None:
        call = _Call("ReleaseBatch", ReleaseBatchRequest, ReleaseBatchResponse)
        answer = await call.ask(self._client, ReleaseBatchRequest(requests=requests), timeout_s)
        if answer is None:
            return None
        return [_error(found.error) if found.HasField("error") else found.response for found in answer.outcomes]


class _Call(Generic[Question, Answer]):
    """A call that an ipamd may not know yet."""

    def __init__(self, method: str, question: type[Question], answer: type[Answer]) -> None:
        self._path = f"/romana.v1.Ipam/{method}"
        self._question = question
        self._answer = answer

    async def ask(self, client: Client, request: Question, timeout_s: float) -> Answer | None:
        """The answer; None from an ipamd that does not know the call."""

        async def call(channel: grpc.aio.Channel, left_s: float) -> Answer | None:
            pack, parse = self._question.SerializeToString, self._answer.FromString
            method = channel.unary_unary(self._path, request_serializer=pack, response_deserializer=parse)
            try:
                answer: Answer = await method(request, timeout=left_s)
            except grpc.aio.AioRpcError as err:
                if err.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise
            return answer

        return await client.call(call, timeout_s)


def _error(told: RequestError) -> RomanaError:
    """What the call alone would have raised."""
    return error_of(told.code, told.message, told.reason)


def _host_address(text: str) -> IPInterface:
    ip = ip_address(text)
    return ip_interface((ip, ip.max_prefixlen))
