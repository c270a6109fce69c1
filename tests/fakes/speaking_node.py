"""A node whose agent speaks: it calls ipamd as an agent does, and says what is on it when it is asked."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from romana.names import host_interface
from romana.v1 import check_pb2, ipam_pb2
from tests.ipamd import Calls

__all__ = ["SpeakingNode", "speaking"]

POLL_S = 0.02


class SpeakingNode:
    """`interfaces` are what is there now; `boot_id` is of now."""

    def __init__(self, name: str, boot_id: str = "boot-1", containers: Iterable[str] = ()) -> None:
        self.name = name
        self.boot_id = boot_id
        self.interfaces = {self.interface(container) for container in containers}

    def interface(self, container: str) -> str:
        """The host interface of a container's eth0."""
        return host_interface(self.name, "romana", container, "eth0")

    async def call(self, calls: Calls, presence: check_pb2.Presence | None = None) -> None:
        """What the agent asks every few seconds."""
        request = ipam_pb2.RecoveryRequest(node=self.name, boot_id=self.boot_id, presence=presence)
        answer = await calls.ipam(lambda stub, left: stub.Recovery(request, timeout=left))
        if answer.presence_wanted and presence is None:
            await self.call(
                calls,
                check_pb2.Presence(
                    node=self.name,
                    boot_id=self.boot_id,
                    interfaces=self.interfaces,
                    question=answer.presence_wanted,
                ),
            )


@asynccontextmanager
async def speaking(calls: Calls, *nodes: SpeakingNode) -> AsyncIterator[None]:
    """They call as long as this is open, and have called when it is entered."""

    async def poll() -> None:
        while True:
            for node in nodes:
                await node.call(calls)
            await asyncio.sleep(POLL_S)

    for node in nodes:
        await node.call(calls)
    task = asyncio.create_task(poll())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
