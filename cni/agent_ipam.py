"""What the agent asks ipamd, in the agent's own words."""

import asyncio
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_address

from cni.agent_ledger import Grant, GrantedAddress, Ledger
from cni.request import AttachmentId, PodId
from romana.errors import InvalidInput, NotFound, Refused
from romana.rpc.client import Client
from romana.v1.ipam_pb2 import (
    LOOKUP_STATE_HELD,
    AllocateRequest,
    AllocateResponse,
    LookupRequest,
    LookupResponse,
    ReleaseRequest,
    ReleaseResponse,
)
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.node_pb2 import GetNodeRequest, GetNodeResponse
from romana.v1.store_pb2 import AttachmentKey, PodRef
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["Allocation", "Ipam", "NodeUnknown", "Unsupported"]


class NodeUnknown(NotFound):
    """ipamd does not know this node: somebody must add it."""


class Unsupported(InvalidInput):
    """ipamd gave what this agent cannot plumb."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """This node as ipamd has it."""

    uid: str
    addresses: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an attachment got."""

    addresses: tuple[IPv4Interface, ...]
    host_interface: str
    existing: bool
    revision: int
    """etcd revision of the attachment."""


class Ipam:
    """ipamd, for one node. Every call raises what ipamd answered (romana.rpc.status), `Unavailable` when it did not."""

    def __init__(self, client: Client, node: str, boot_id: str, ledger: Ledger) -> None:
        self._client = client
        self._node = node
        self._boot_id = boot_id
        self._ledger = ledger
        self._identity: NodeIdentity | None = None

    async def identity(self, timeout_s: float) -> NodeIdentity:
        """This node's uid and addresses, asked for once; raises NodeUnknown."""
        if self._identity is None:
            request = GetNodeRequest(name=self._node)

            async def ask() -> GetNodeResponse:
                return await self._client.call(lambda channel, s: TopologyStub(channel).GetNode(request, timeout=s), timeout_s)

            try:
                found = (await ask()).node
            except NotFound as err:
                raise NodeUnknown(f"node {self._node} is not known to ipamd: {err}") from err
            addresses = (ip_address(address) for address in found.addresses)
            self._identity = NodeIdentity(found.uid, tuple(ip for ip in addresses if isinstance(ip, IPv4Address)))
        return self._identity

    async def allocate(self, attachment: AttachmentId, pod: PodId | None, timeout_s: float) -> Allocation:
        """Addresses for an attachment, durable when this returns; the same ones if it has some.

        A refusal may come from a node that was made anew under its name since we asked for its uid: we ask for both again, once.
        """
        deadline = time.monotonic() + timeout_s
        uid_is_fresh = self._identity is None
        identity = await self.identity(timeout_s)
        sight = self._ledger.sight
        request = AllocateRequest(
            attachment=self._key(attachment),
            node_uid=identity.uid,
            boot_id=self._boot_id,
            seen_history=sight.history,
            seen_revision=sight.revision,
        )
        if pod is not None:
            request.pod.CopyFrom(PodRef(namespace=pod.namespace, name=pod.name, uid=pod.uid))

        async def ask(left_s: float) -> AllocateResponse:
            return await self._client.call(lambda channel, s: IpamStub(channel).Allocate(request, timeout=s), left_s)

        try:
            answer = await ask(deadline - time.monotonic())
        except (NotFound, Refused) as err:
            self._identity = None
            if uid_is_fresh or isinstance(err, NotFound):
                raise
            return await self.allocate(attachment, pod, deadline - time.monotonic())
        await self._remember(attachment, pod, answer)
        addresses = tuple(_host_address(address.ip) for address in answer.addresses)
        return Allocation(addresses, answer.host_interface, answer.existing, answer.revision)

    async def _remember(self, attachment: AttachmentId, pod: PodId | None, answer: AllocateResponse) -> None:
        """Before anybody uses the address: a restored store has to be told of it (cni/agent_reassert.py)."""
        granted = tuple(GrantedAddress(address.network, address.ip, address.block) for address in answer.addresses)
        await asyncio.to_thread(self._ledger.granted, attachment, Grant(pod, granted))
        self._ledger.saw(answer.history, answer.revision)

    async def release(self, attachment: AttachmentId, timeout_s: float) -> bool:
        """Take an attachment's addresses back; False when there was nothing to take."""
        request = ReleaseRequest(attachment=self._key(attachment))

        async def ask() -> ReleaseResponse:
            return await self._client.call(lambda channel, s: IpamStub(channel).Release(request, timeout=s), timeout_s)

        released = (await ask()).released
        await asyncio.to_thread(self._ledger.released, attachment)
        return released

    async def holds(self, attachment: AttachmentId, address: IPv4Address, timeout_s: float) -> bool:
        """True when the address is this attachment's."""
        request = LookupRequest(ip=str(address))

        async def ask() -> LookupResponse:
            return await self._client.call(lambda channel, s: IpamStub(channel).Lookup(request, timeout=s), timeout_s)

        answer = await ask()
        return answer.state == LOOKUP_STATE_HELD and answer.attachment == self._key(attachment)

    def _key(self, attachment: AttachmentId) -> AttachmentKey:
        key = attachment
        return AttachmentKey(node=self._node, conf=key.conf, container_id=key.container_id, ifname=key.ifname)


def _host_address(text: str) -> IPv4Interface:
    ip = ip_address(text)
    if not isinstance(ip, IPv4Address):
        raise Unsupported(f"ipamd gave {text}; this agent can plumb IPv4 addresses only")
    return IPv4Interface((ip, 32))
