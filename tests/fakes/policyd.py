"""A policyd that says that policy is in force when it is told to."""

import asyncio

import grpc

from romana.rpc.server import new_server, start
from romana.v1 import policy_pb2
from romana.v1.policy_pb2_grpc import EnforcementServicer, add_EnforcementServicer_to_server

__all__ = ["FakePolicyd"]


class FakePolicyd:
    """`in_force` opens; until then `Await` waits as long as its caller does."""

    def __init__(self) -> None:
        self.in_force = asyncio.Event()
        self.asked: list[policy_pb2.AwaitRequest] = []
        self._server: grpc.aio.Server | None = None

    async def listen(self, target: str) -> None:
        """Serve on a gRPC address."""
        self._server, health = new_server(["romana.v1.Enforcement"])
        add_EnforcementServicer_to_server(_Enforcement(self), self._server)
        await start(self._server, [target])
        await health.set(serving=True)

    async def stop(self) -> None:
        """Go away; `listen` again to come back."""
        if self._server:
            await self._server.stop(None)
            self._server = None


class _Enforcement(EnforcementServicer):
    def __init__(self, fake: FakePolicyd) -> None:
        self._fake = fake

    async def Await(self, request: policy_pb2.AwaitRequest, context: object) -> policy_pb2.AwaitResponse:  # noqa: N802
        self._fake.asked.append(request)
        await self._fake.in_force.wait()
        return policy_pb2.AwaitResponse()
