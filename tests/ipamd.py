"""An ipamd to test: served over real gRPC on a unix socket, on any store, with typed calls."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ipam.server import Ipamd
from romana import keys
from romana.rpc.client import Client
from romana.store.api import Put, Store
from romana.v1 import ipam_pb2, node_pb2, store_pb2, topology_pb2
from romana.v1.check_pb2_grpc import CheckStub
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.topology_pb2_grpc import TopologyStub

if TYPE_CHECKING:
    from romana.v1.check_pb2_grpc import CheckAsyncStub
    from romana.v1.ipam_pb2_grpc import IpamAsyncStub
    from romana.v1.topology_pb2_grpc import TopologyAsyncStub

__all__ = ["Calls", "Clock", "Running", "flat", "running", "until", "write_pod"]

Answer = TypeVar("Answer")

WAIT_S = 60.0  # for what must come; no test asserts a time


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Calls:
    """The API of whatever listens at an address. Errors are ours (romana.errors); Unavailable is tried again for `patience_s`."""

    def __init__(self, *addresses: str, patience_s: float = WAIT_S) -> None:
        self.client = Client(addresses)
        self._patience_s = patience_s

    async def ipam(self, call: "Callable[[IpamAsyncStub, float], Awaitable[Answer]]") -> Answer:
        async def on(channel: grpc.aio.Channel, left_s: float) -> Answer:
            return await call(IpamStub(channel), left_s)

        return await self.client.call(on, self._patience_s)

    async def topology(self, call: "Callable[[TopologyAsyncStub, float], Awaitable[Answer]]") -> Answer:
        async def on(channel: grpc.aio.Channel, left_s: float) -> Answer:
            return await call(TopologyStub(channel), left_s)

        return await self.client.call(on, self._patience_s)

    async def leaks(self, call: "Callable[[CheckAsyncStub, float], Awaitable[Answer]]") -> Answer:
        async def on(channel: grpc.aio.Channel, left_s: float) -> Answer:
            return await call(CheckStub(channel), left_s)

        return await self.client.call(on, self._patience_s)

    async def apply(self, document: dict[str, Any] | bytes) -> topology_pb2.ApplyResponse:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.topology(lambda stub, left: stub.Apply(topology_pb2.ApplyRequest(document=raw), timeout=left))

    async def check(self, document: dict[str, Any] | bytes) -> topology_pb2.CheckResponse:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.topology(lambda stub, left: stub.Check(topology_pb2.CheckRequest(document=raw), timeout=left))

    async def plan(self, document: dict[str, Any] | bytes) -> topology_pb2.PlanResponse:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.topology(lambda stub, left: stub.Plan(topology_pb2.PlanRequest(document=raw), timeout=left))

    async def show(self) -> topology_pb2.ShowResponse:
        return await self.topology(lambda stub, left: stub.Show(topology_pb2.ShowRequest(), timeout=left))

    async def add_node(
        self, name: str, *addresses: str, uid: str = "", labels: dict[str, str] | None = None
    ) -> node_pb2.AddNodeResponse:
        request = node_pb2.AddNodeRequest(name=name, uid=uid, addresses=addresses or (_address(name),), labels=labels or {})
        return await self.topology(lambda stub, left: stub.AddNode(request, timeout=left))

    async def node(self, name: str) -> node_pb2.GetNodeResponse:
        return await self.topology(lambda stub, left: stub.GetNode(node_pb2.GetNodeRequest(name=name), timeout=left))

    async def drain(self, name: str, *, undo: bool = False) -> node_pb2.DrainNodeResponse:
        request = node_pb2.DrainNodeRequest(name=name, undo=undo)
        return await self.topology(lambda stub, left: stub.DrainNode(request, timeout=left))

    async def remove(self, name: str, *, force: bool = False) -> node_pb2.RemoveNodeResponse:
        request = node_pb2.RemoveNodeRequest(name=name, force=force)
        return await self.topology(lambda stub, left: stub.RemoveNode(request, timeout=left))

    async def nodes(self) -> node_pb2.ListNodesResponse:
        return await self.topology(lambda stub, left: stub.ListNodes(node_pb2.ListNodesRequest(), timeout=left))

    async def allocate(
        self, node: str, container: str, pod: tuple[str, str, str] | None = None, node_uid: str = "", ifname: str = "eth0"
    ) -> ipam_pb2.AllocateResponse:
        request = ipam_pb2.AllocateRequest(attachment=attachment(node, container, ifname), node_uid=node_uid, boot_id="boot-1")
        if pod is not None:
            request.pod.CopyFrom(store_pb2.PodRef(namespace=pod[0], name=pod[1], uid=pod[2]))
        return await self.ipam(lambda stub, left: stub.Allocate(request, timeout=left))

    async def ip(self, node: str, container: str, pod: tuple[str, str, str] | None = None) -> str:
        """The one address that an allocation gives."""
        (address,) = (await self.allocate(node, container, pod)).addresses
        return address.ip

    async def release(self, node: str, container: str, ifname: str = "eth0") -> ipam_pb2.ReleaseResponse:
        request = ipam_pb2.ReleaseRequest(attachment=attachment(node, container, ifname))
        return await self.ipam(lambda stub, left: stub.Release(request, timeout=left))

    async def lookup(self, ip: str) -> ipam_pb2.LookupResponse:
        return await self.ipam(lambda stub, left: stub.Lookup(ipam_pb2.LookupRequest(ip=ip), timeout=left))


class Running(Calls):
    """An ipamd in this process."""

    def __init__(self, ipamd: Ipamd, address: str, patience_s: float) -> None:
        super().__init__(address, patience_s=patience_s)
        self.ipamd = ipamd
        self.address = address


@asynccontextmanager
async def running(
    store: Store,
    cooldown_s: int = 30,
    clock: Callable[[], float] | None = None,
    *,
    whole: bool = True,
    patience_s: float = WAIT_S,
    restore_hold_s: float = 0.0,
    check_interval_s: float = 0.0,
    check_apart_s: float = 0.0,
) -> AsyncIterator[Running]:
    """An ipamd on this store; with `whole`, once it has read it."""
    ipamd = Ipamd(
        store,
        cooldown_s,
        clock or time.monotonic,
        lag_s=lambda: 0.0,
        restore_hold_s=restore_hold_s,
        recovery_s=0.05,
        check_interval_s=check_interval_s,
        check_apart_s=check_apart_s,
    )
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="ipamd-") as folder:
        run = Running(ipamd, f"unix:{folder}/ipamd.sock", patience_s)
        task = asyncio.create_task(ipamd.serve([run.address], stop))
        try:
            if whole:
                await until(lambda: ipamd.state.whole or task.done())
            else:
                await until(lambda: Path(folder, "ipamd.sock").exists() or task.done())
            yield run
        finally:
            await run.client.close()
            stop.set()
            await task


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - any condition; most have no event
            await asyncio.sleep(0.005)


async def write_pod(store: Store, namespace: str, name: str, uid: str = "") -> None:
    """What the kube mirror or `romana apply` does."""
    await store.txn([], [Put(keys.pod(namespace, name), store_pb2.Pod(uid=uid).SerializeToString())])


def attachment(node: str, container: str, ifname: str = "eth0") -> store_pb2.AttachmentKey:
    """A CNI key of the configuration `romana`."""
    return store_pb2.AttachmentKey(node=node, conf="romana", container_id=container, ifname=ifname)


def flat(cidr: str = "10.40.0.0/16", block_mask: int = 29, name: str = "pods") -> dict[str, Any]:
    """A topology of one network and one group."""
    return {
        "networks": [{"name": name, "cidr": cidr, "block_mask": block_mask}],
        "topologies": [{"networks": [name], "map": [{"name": "everyone", "groups": []}]}],
    }


def _address(name: str) -> str:
    """Some address for a node of that name (RFC 2544's range)."""
    number = int("".join(char for char in name if char.isdigit()) or 0) + 1
    return f"198.18.{number // 256}.{number % 256}"
