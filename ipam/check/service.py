"""The gRPC service `romana.v1.Check`: requests in, answers out."""

import asyncio

import grpc

from ipam.check.finding import Fact, Finding, Kind, Presence
from ipam.check.presences import HeardPresences
from ipam.check.repairs import Outcome, Repairs
from ipam.requests import read_node_name
from ipam.state import State
from romana.errors import InvalidInput
from romana.v1 import check_pb2
from romana.v1.check_pb2_grpc import CheckServicer

__all__ = ["CheckService", "read_presence"]

Context = grpc.aio.ServicerContext[object, object]

WAIT_MAX_MS = 60_000
REPAIRS_MAX = 1000
AT_ONCE = 16
_STATES = {
    Outcome.REPAIRED: check_pb2.REPAIR_STATE_REPAIRED,
    Outcome.CHANGED: check_pb2.REPAIR_STATE_CHANGED,
}


class CheckService(CheckServicer):
    """See check.proto."""

    def __init__(self, state: State, presences: HeardPresences, repairs: Repairs) -> None:
        self._state = state
        self._presences = presences
        self._repairs = repairs

    async def AskPresence(self, request: check_pb2.AskPresenceRequest, context: Context) -> check_pb2.AskPresenceResponse:  # noqa: N802, ARG002
        """What agents say is on their nodes."""
        if request.wait_ms > WAIT_MAX_MS:
            raise InvalidInput(f"wait_ms {request.wait_ms}: {WAIT_MAX_MS} at most")
        nodes = [read_node_name(node) for node in request.nodes]
        heard = await self._presences.ask(nodes, request.wait_ms / 1000)
        found = (
            check_pb2.Presence(node=each.node, boot_id=each.boot_id, interfaces=sorted(each.interfaces))
            for each in heard.values()
        )
        return check_pb2.AskPresenceResponse(presences=found)

    async def Repair(self, request: check_pb2.RepairRequest, context: Context) -> check_pb2.RepairResponse:  # noqa: N802, ARG002
        """Carries out repairs, each by itself."""
        self._state.require_whole()
        if len(request.findings) > REPAIRS_MAX:
            raise InvalidInput(f"findings: {len(request.findings)}; {REPAIRS_MAX} at most in one call")
        wanted = [_read_finding(ref) for ref in request.findings]
        presences = {each.node: read_presence(each) for each in request.presences}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(finding: Finding) -> Outcome:
            async with gate:
                return await self._repairs.repair(finding, presences)

        outcomes = await asyncio.gather(*map(one, wanted))
        return check_pb2.RepairResponse(outcomes=[check_pb2.RepairOutcome(state=_STATES[outcome]) for outcome in outcomes])


def read_presence(message: check_pb2.Presence) -> Presence:
    """What an agent says; raises InvalidInput."""
    return Presence(read_node_name(message.node), message.boot_id, frozenset(message.interfaces))


def _read_finding(ref: check_pb2.FindingRef) -> Finding:
    """What the finding is about and rests on; what to do about it is decided anew."""
    try:
        kind = Kind(ref.kind)
    except ValueError as err:
        raise InvalidInput(f"kind {ref.kind!r} is none; there are: {', '.join(Kind)}") from err
    if not ref.subject or "\0" in ref.subject:
        raise InvalidInput(f"subject {ref.subject!r} is no key")
    evidence = tuple(Fact(fact.what, fact.revision, fact.text) for fact in ref.evidence)
    return Finding(kind, ref.subject, read_node_name(ref.node) if ref.node else "", "", evidence, "")
