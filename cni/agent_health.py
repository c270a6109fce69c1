"""What the agent tells of itself: its metrics, and what must be so for an ADD to succeed on this node.

The agent does not speak to etcd. Whether that answers it hears from ipamd, whose gRPC health says it.
"""

import asyncio
from collections.abc import Iterator, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.core import Metric

from cni.agent_counts import CallCounts
from cni.agent_parts import Parts
from cni.agent_reassert import Reassertion
from romana.config import Config
from romana.counting import Labels
from romana.errors import Unavailable
from romana.health.conditions import Condition, failed, met
from romana.health.daemon import Health
from romana.health.evidence import Evidence
from romana.health.families import gauge, gauges, histogram
from romana.rpc.client import Client

__all__ = ["agent_health"]

ASK_S = 2.0
SERVICE = "romana.v1.Ipam"


def agent_health(config: Config, parts: Parts, ipamd: Client, reassertion: Reassertion, counts: CallCounts) -> Health:
    """Tells how the agent does; `ipamd` is the agent's client."""
    health = Health("agent", config.health.agent, [lambda: _metrics(parts, counts)])
    serving = Evidence("ipamd", lambda: _ipamd(parts, ipamd))
    policy = Evidence("policyd", lambda: _policyd(parts))

    async def conditions() -> Sequence[Condition]:
        untold = reassertion.untold
        told = failed("reassert", untold) if untold else met("reassert", "ipamd was told what lives on this node")
        if not parts.policy.is_required:
            return await serving.condition(), told, met("policyd", "is not required here (policy.required)")
        return *await asyncio.gather(serving.condition(), policy.condition()), told

    health.conditions = conditions
    return health


async def _ipamd(parts: Parts, ipamd: Client) -> str:
    """That an ipamd serves, and knows this node; the second is asked once. Raises Unavailable, NotFound."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)

    async def ask(channel: grpc.aio.Channel, left_s: float) -> health_pb2.HealthCheckResponse:
        answer: health_pb2.HealthCheckResponse = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=left_s)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:  # the next endpoint may serve
            raise Unavailable("ipamd answers, and does not serve: its own /readyz says why")
        return answer

    await ipamd.call(ask, ASK_S)
    identity = await parts.ipam.identity(ASK_S)
    return f"serves; node {parts.node} has uid {identity.uid}"


async def _policyd(parts: Parts) -> str:
    await parts.policy.serves(ASK_S)
    return f"serves on {parts.policy.socket}"


def _metrics(parts: Parts, counts: CallCounts) -> Iterator[Metric]:
    words = "Seconds that CNI calls took in the agent; code 0 is success"
    yield histogram("romana_agent_call_seconds", words, ("command", "code"), counts.seconds)
    under_way: dict[Labels, float] = {(command,): number for command, number in counts.under_way.items()}
    words = "CNI calls that were taken and are not answered yet"
    yield from gauges("romana_agent_calls_under_way", words, ("command",), under_way)
    yield gauge("romana_agent_attachments", "Finished attachments of this node", len(parts.memory.records()))
    yield gauge("romana_agent_intents", "ADDs that run, or that an agent died of", len(parts.memory.intents()))
    waiting = {*parts.pending.all(), *parts.memory.owed()}
    yield gauge("romana_agent_pending_releases", "Releases that ipamd has not taken yet", len(waiting))
