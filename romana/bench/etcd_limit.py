"""The limit that our store is measured against: etcd's own calls on one plain channel, with nothing of ours between.

No keys are translated, no failure is sorted, no other member is tried. The only module outside romana.store that speaks etcd's
wire API, so that the limit does not rest on what it is the limit of.
"""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import grpc.aio

from romana.store.etcdpb import rpc_pb2
from romana.store.etcdpb.rpc_pb2_grpc import KVStub, WatchStub

__all__ = ["Limit"]

MESSAGE_MAX = 256 << 20


class Limit:
    """etcd, as bare as can be. Keys and values are bytes."""

    def __init__(self, target: str) -> None:
        """Use it as an asynchronous context manager."""
        self._channel = grpc.aio.insecure_channel(target, options=[("grpc.max_receive_message_length", MESSAGE_MAX)])
        self._kv, self._watch = KVStub(self._channel), WatchStub(self._channel)
        # Our own wire definitions have no Put: the store writes by transactions alone.
        self._put = self._channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=rpc_pb2.PutRequest.SerializeToString,
            response_deserializer=rpc_pb2.PutResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        await self._channel.close()

    async def put(self, key: bytes, value: bytes) -> None:
        """KV.Put."""
        await self._put(rpc_pb2.PutRequest(key=key, value=value))

    async def create(self, key: bytes, value: bytes) -> bool:
        """KV.Txn: put it if it is not there."""
        compare = rpc_pb2.Compare(target=rpc_pb2.Compare.CREATE, key=key, create_revision=0)
        put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value))
        answer = await self._kv.Txn(rpc_pb2.TxnRequest(compare=[compare], success=[put]))
        return bool(answer.succeeded)

    async def range_all(self, start: bytes, end: bytes, page: int) -> int:
        """KV.Range in pages at one revision; how many keys came."""
        count, revision = 0, 0
        while True:
            answer = await self._kv.Range(rpc_pb2.RangeRequest(key=start, range_end=end, limit=page, revision=revision))
            revision = revision or answer.header.revision
            count += len(answer.kvs)
            if not answer.more:
                return count
            start = answer.kvs[-1].key + b"\0"

    async def watch(self, start: bytes, end: bytes, revision: int) -> AsyncIterator[list[bytes]]:
        """The keys of each response's events, from that revision on; the first list is empty and says that the watch stands."""
        create = rpc_pb2.WatchCreateRequest(key=start, range_end=end, start_revision=revision, fragment=True)
        stream = self._watch.Watch()
        await stream.write(rpc_pb2.WatchRequest(create_request=create))
        try:
            async for answer in stream:
                yield [event.kv.key for event in answer.events]
        finally:
            stream.cancel()
