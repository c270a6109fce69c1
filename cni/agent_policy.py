"""Waits until policyd says that policy is in force for an attachment: before that no ADD is answered.

Only the daemon of the same node is asked, so a pod that the policy daemons of other nodes do not know yet holds up nobody.
"""

from cni.request import AttachmentId
from romana.rpc.client import Client
from romana.v1.policy_pb2 import AwaitRequest, AwaitResponse
from romana.v1.policy_pb2_grpc import EnforcementStub
from romana.v1.store_pb2 import AttachmentKey

__all__ = ["Policy"]


class Policy:
    """policyd of this node; with `required` False nobody is asked."""

    def __init__(self, client: Client, node: str, *, wait_s: float, required: bool) -> None:
        self._client = client
        self._node = node
        self._wait_s = wait_s
        self.is_required = required

    async def in_force(self, attachment: AttachmentId, revision: int) -> None:
        """Return as soon as it is, for the attachment of this etcd revision; raises Unavailable when that takes too long."""
        if not self.is_required:
            return
        key = AttachmentKey(node=self._node, conf=attachment.conf, container_id=attachment.container_id, ifname=attachment.ifname)
        request = AwaitRequest(attachment=key, revision=revision)

        async def ask() -> AwaitResponse:
            return await self._client.call(lambda channel, s: EnforcementStub(channel).Await(request, timeout=s), self._wait_s)

        await ask()
