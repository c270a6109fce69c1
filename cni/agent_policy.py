"""Waits until policyd says that policy is in force for an attachment: before that no ADD is answered.

Only the daemon of the same node is asked, so a pod that the policy daemons of other nodes do not know yet holds up nobody.
"""

import logging

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cni.request import AttachmentId
from romana.config import PolicyConfig
from romana.errors import RomanaError, Unavailable
from romana.rpc.client import Client
from romana.v1.policy_pb2 import AwaitRequest, AwaitResponse
from romana.v1.policy_pb2_grpc import EnforcementStub
from romana.v1.store_pb2 import AttachmentKey

__all__ = ["Policy"]

log = logging.getLogger(__name__)

SERVICE = "romana.v1.Enforcement"
NOT_IN_FORCE = "policy is not in force"


class Policy:
    """policyd of this node, or nobody where policy is not required."""

    def __init__(self, client: Client, node: str, settings: PolicyConfig) -> None:
        self._client = client
        self._node = node
        self._settings = settings

    @property
    def socket(self) -> str:
        """Where policyd answers."""
        return self._settings.socket

    @property
    def is_required(self) -> bool:
        """Whether ADD waits at all."""
        return self._settings.required

    async def serves(self, timeout_s: float) -> None:
        """Return when policyd says that it serves; raises Unavailable.

        A connection alone tells nothing: the kernel takes those to a process that is stopped.
        """
        request = health_pb2.HealthCheckRequest(service=SERVICE)

        async def ask(channel: grpc.aio.Channel, left_s: float) -> None:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=left_s)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise Unavailable("it does not serve yet")

        try:
            await self._client.call(ask, timeout_s)
        except (RomanaError, TimeoutError) as err:
            raise Unavailable(f"policyd does not answer on {self.socket}: {err or 'in time'}") from err

    async def missing(self, attachment: AttachmentId, timeout_s: float) -> str:
        """Why policy is not in force for an attachment now; empty: it is. Raises Unavailable when policyd does not say."""
        key = AttachmentKey(node=self._node, conf=attachment.conf, container_id=attachment.container_id, ifname=attachment.ifname)
        request = AwaitRequest(attachment=key)

        async def ask() -> AwaitResponse:
            return await self._client.call(lambda channel, s: EnforcementStub(channel).Await(request, timeout=s), timeout_s)

        try:
            await ask()
        except Unavailable as err:
            if NOT_IN_FORCE in str(err):  # policyd's own words, policyd/awaiting.py
                return str(err)
            raise
        return ""

    async def in_force(self, attachment: AttachmentId, revision: int) -> None:
        """Return as soon as it is, for the attachment of this etcd revision; raises Unavailable when that takes too long.

        Where `policy.proceed` is set it returns then too, and says so in the log.
        """
        if not self.is_required:
            return
        key = AttachmentKey(node=self._node, conf=attachment.conf, container_id=attachment.container_id, ifname=attachment.ifname)
        request = AwaitRequest(attachment=key, revision=revision)

        async def ask() -> AwaitResponse:
            wait_s = self._settings.wait_s
            return await self._client.call(lambda channel, s: EnforcementStub(channel).Await(request, timeout=s), wait_s)

        try:
            await ask()
        except Unavailable as err:
            if not self._settings.proceed:
                raise
            log.warning("goes on without policy in force", extra={"attachment": str(attachment), "error": str(err)})
