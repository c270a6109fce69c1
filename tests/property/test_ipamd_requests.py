"""Whatever a client sends: never a bug of the server, always a reason, and nothing written by a call that was refused.

A real ipamd behind real gRPC, on a store in memory. Requests of every call of both services, as messages with plausible and
extreme fields, and as bytes that are none.
"""

import asyncio
import json
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipam.allocation import Wanted
from ipam.records import AttachmentId
from ipam.server import Ipamd
from ipam.topology.reading import read_document
from romana import keys
from romana.rpc.status import REASON_KEY
from romana.store.api import Delete, KeyValue, Put
from romana.store.memory import MemoryStore
from romana.v1 import ipam_pb2, store_pb2, topology_pb2
from tests.grpc_requests import Likely, messages, spoilt
from tests.ipamd import Clock, flat, until

Answer = TypeVar("Answer")

METHODS: list[MethodDescriptor] = [
    method
    for file, service in ((ipam_pb2, "Ipam"), (topology_pb2, "Topology"))
    for method in file.DESCRIPTOR.services_by_name[service].methods
    if not method.server_streaming  # WatchFull has no end, and a request without a field
]
PAIR = {
    "networks": [
        {"name": "pods", "cidr": "10.40.0.0/26", "block_mask": 29, "dual": "six", "reserved": ["10.40.0.32/28"]},
        {"name": "six", "cidr": "fd00::/120", "block_mask": 126},
        {"name": "red", "cidr": "10.41.0.0/29", "block_mask": 30, "tenants": ["red"], "owner": "tenant"},
    ],
    "topologies": [
        {"networks": ["pods", "red"], "map": [{"name": "a"}, {"name": "b"}]},
        {"networks": ["six"], "map": [{"name": "c"}]},
    ],
}
DOCUMENTS = [b"", b"{}", *(json.dumps(tree).encode() for tree in (flat("10.40.0.0/26", 29), flat("10.40.0.0/26", 30), PAIR))]
LIKELY: Likely = {
    "node": ["n0", "n0", "n1", "n2"], "name": ["n0", "n1", "n2", "web", "fixed", "pair"], "conf": ["romana"],
    "container_id": ["c0", "c1", "c2"], "ifname": ["eth0", "net1"], "namespace": ["default", "red"], "node_uid": ["", "u0", "u1"],
    "networks": ["pods", "six", "red"], "network": ["pods", "six"], "ip": ["10.40.0.1", "10.40.0.9", "fd00::5"],
    "addresses": ["198.18.0.1", "198.18.0.2", "198.18.0.3"], "block": ["10.40.0.0/29", "10.40.0.8/29", "fd00::4/126"],
    "cidr": ["10.40.0.0/29", "10.40.0.16/30", "10.40.0.20/30", "10.40.0.40/29", "fd00::8/125"],
    "key": ["rack"], "value": ["1", ""],
    "document": DOCUMENTS,
}  # fmt: skip
ANNOTATIONS = {"web": {}, "fixed": {"romana.io/ip": "10.40.0.9"}, "pair": {"romana.io/ip": "10.40.0.17,fd00::5"}}


@dataclass
class World:
    """An ipamd, served in a thread of its own."""

    folder: Path
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.ipamd = Ipamd(self.store, 30, Clock(), lag_s=lambda: 0.0, recovery_s=0.05)
        self.stop = asyncio.Event()
        self.address = f"unix:{self.folder}/ipamd.sock"

    async def serve(self) -> None:
        await self.ipamd.serve([self.address], self.stop)

    def do(self, work: "Coroutine[Any, Any, Answer]") -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def begin(self) -> None:
        for name, annotations in ANNOTATIONS.items():
            value = store_pb2.Pod(uid="u0", annotations=annotations).SerializeToString()
            await self.store.txn([], [Put(keys.pod(space, name), value) for space in ("default", "red")])
        await until(lambda: self.ipamd.state.whole)

    async def anew(self) -> dict[str, KeyValue]:
        """A topology, two nodes, an attachment, a reservation; nothing of what was before."""
        state = self.ipamd.state
        await self.store.txn([], [Delete(prefix, prefix=True) for prefix in USED])
        tables = (state.topology, state.nodes, state.blocks, state.addresses, state.reservations)
        await until(lambda: state.whole and not any(table.rows for table in tables))
        await self.ipamd.topologies.apply(read_document(DOCUMENTS[-1]))
        for number in range(2):
            await self.ipamd.nodes.add(f"n{number}", "u0", (ip_address(f"198.18.0.{number + 1}"),), {})
        await self.ipamd.allocations.allocate(Wanted(AttachmentId("n0", "romana", "c0", "eth0")))
        await self.ipamd.reservations.reserve(ip_network("10.40.0.16/30"), "")
        return await self.quiet()

    async def quiet(self) -> dict[str, KeyValue]:
        """All keys, once there is nothing that ipamd wants to do by itself; a recovery that somebody caused is cut short."""
        for key in (keys.RESTORED_NODES, keys.RESTORED):
            await self.store.txn([], [Delete(key, prefix=key.endswith("/"))])
        await until(lambda: self.ipamd.state.whole and not self.ipamd.state.uneven)
        return {item.key: item for item in (await self.store.list("")).items}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="ipamd-") as folder:
        made = World(Path(folder))
        serving = made.loop.create_task(made.serve())
        thread = threading.Thread(target=made.loop.run_until_complete, args=(serving,))
        thread.start()
        made.do(made.begin())
        yield made
        made.loop.call_soon_threadsafe(made.stop.set)
        thread.join(60)
        made.loop.close()


@pytest.fixture(scope="module")
def channel(world: World) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(world.address) as made:
        yield made


def ask(channel: grpc.Channel, method: MethodDescriptor, raw: bytes) -> Any:
    """The refusal, a grpc.RpcError; None when it was answered."""
    call: Any = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
    try:
        call(raw, timeout=60, wait_for_ready=True)
    except grpc.RpcError as err:
        return err
    return None


TELLING = {"Allocate", "AllocateBatch", "Reassert", "Recovery"}
"""Calls that say how far the asker has seen the store."""
USED = (keys.TOPOLOGY, keys.NODES, keys.BLOCKS, keys.RESERVATIONS, keys.ADDRESSES, keys.ATTACHMENTS, keys.ENDPOINTS, keys.JOURNAL)

SPOILT = st.integers(0, 9).flatmap(lambda dice: st.none() if dice else st.integers(0, 2**32))
REQUESTS = st.one_of(
    *(
        st.tuples(st.just(method), messages(method.input_type, LIKELY).map(lambda made: made.SerializeToString()), SPOILT)
        for method in METHODS
    )
)
BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DEADLINE_EXCEEDED}


def may_change(method: MethodDescriptor, code: grpc.StatusCode, key: str) -> bool:
    """What a refused call may write.

    A node that is to go and has attachments drains; whoever saw more of the store than there is begins a recovery.
    """
    drains = method.name == "RemoveNode" and code is grpc.StatusCode.FAILED_PRECONDITION and key.startswith(keys.NODES)
    return drains or (method.name in TELLING and key in {keys.HISTORY, keys.RESTORED})


def check(world: World, channel: grpc.Channel, requests: list[tuple[MethodDescriptor, bytes, int | None]]) -> None:
    before = world.do(world.anew())
    for method, raw, seed in requests:
        refusal = ask(channel, method, raw if seed is None else spoilt(raw, seed))
        after = world.do(world.quiet())
        if refusal is not None:
            code = refusal.code()
            assert code not in BUGS, (method.name, refusal.details())
            assert any(entry.key == REASON_KEY and entry.value for entry in refusal.trailing_metadata()), (method.name, code)
            changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            assert not [key for key in changed if not may_change(method, code, key)], (method.name, code, refusal.details())
        before = after


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(REQUESTS, min_size=1, max_size=12))
def test_any_request_is_answered_or_refused_with_a_reason_and_a_refused_one_writes_nothing(
    world: World, channel: grpc.Channel, requests: list[tuple[MethodDescriptor, bytes, int | None]]
) -> None:
    check(world, channel, requests)


@pytest.mark.long
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(REQUESTS, min_size=1, max_size=12))
def test_many_requests(world: World, channel: grpc.Channel, requests: list[tuple[MethodDescriptor, bytes, int | None]]) -> None:
    check(world, channel, requests)
