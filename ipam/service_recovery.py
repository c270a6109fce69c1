"""The calls of `romana.v1.Ipam` that are about a restored store: requests in, answers out."""

import grpc

from ipam import codec_address, codec_history, requests
from ipam.check.presences import HeardPresences
from ipam.check.service import read_presence
from ipam.history import Verdict
from ipam.reasserting import Heard
from ipam.reasserts import Reasserts
from ipam.recovery import Recovery
from ipam.requests_reassert import read_reassert
from ipam.state import State
from romana import keys
from romana.v1 import ipam_pb2
from romana.v1.ipam_pb2_grpc import IpamServicer

__all__ = ["RecoveryCalls"]

Context = grpc.aio.ServicerContext[object, object]


class RecoveryCalls(IpamServicer):
    """See ipam.proto."""

    def __init__(self, state: State, recovery: Recovery, reasserts: Reasserts, presences: HeardPresences) -> None:
        self._recovered_state = state
        self._recovery = recovery
        self._reasserts = reasserts
        self._presences = presences

    async def Reassert(self, request: ipam_pb2.ReassertRequest, context: Context) -> ipam_pb2.ReassertResponse:  # noqa: N802, ARG002
        """Writes again what a restored store has lost of a node's live attachments."""
        self._recovered_state.require_whole()
        done = await self._reasserts.reassert(read_reassert(request))
        conflicts = [
            ipam_pb2.ReassertConflict(
                attachment=codec_address.attachment_key_message(attachment), reason=stopped.reason, blocking=stopped.blocking
            )
            for attachment, stopped in done.conflicts
        ]
        return ipam_pb2.ReassertResponse(
            restored=done.restored,
            released=done.released,
            conflicts=conflicts,
            revision=done.point.revision,
            history=done.point.history,
        )

    async def Recovery(self, request: ipam_pb2.RecoveryRequest, context: Context) -> ipam_pb2.RecoveryResponse:  # noqa: N802, ARG002
        """Where the store's history stands, and what a recovery waits for."""
        seen = requests.read_seen(request)
        if request.HasField("presence"):
            self._presences.told(read_presence(request.presence), request.presence.question)
        asker = f"the agent of node {requests.read_node_name(request.node)}" if request.node else "a client"
        marker = [keys.restored_node(request.node), keys.node(request.node)] if request.node else []
        point, verdict, found = await self._recovery.look(seen, asker, *marker)
        answer = ipam_pb2.RecoveryResponse(history=point.history, revision=point.revision)
        if (restored := found[keys.RESTORED]) is not None:
            answer.restored.CopyFrom(codec_history.read_restored(restored))
        if request.node:
            answer.presence_wanted = self._presences.called(request.node, request.boot_id)
            heard = codec_history.read_heard([item] if (item := found[marker[0]]) else [])
            answer.reassert = verdict is Verdict.FORMER or (restored is not None and heard.get(request.node) is not Heard.ALL)
            if restored is not None and found[marker[1]] is None:
                await self._recovery.mark(request.node, Heard.NOTHING)
        elif restored is not None:
            waiting, unknown, _ = await self._recovery.waiting()
            answer.waiting.extend(waiting)
            answer.unknown.extend(unknown)
        return answer

    async def GiveUpNode(self, request: ipam_pb2.GiveUpNodeRequest, context: Context) -> ipam_pb2.GiveUpNodeResponse:  # noqa: N802, ARG002
        """The operator's word that a node is gone."""
        node = requests.read_node_name(request.node)
        return ipam_pb2.GiveUpNodeResponse(changed=await self._recovery.mark(node, Heard.GIVEN_UP))
