"""A watch on etcd that survives the loss of its stream: no event missing, none twice, or Compacted.

    probe at next - 1 --> stream from next --> whole responses --> events >= next --> Batch;  next = last event's revision + 1
         ^                    |  lost, refused, cancelled
         +----- pause --------+

The probe is a linearizable read at revision `next - 1`. It fails when that revision is compacted (then a deletion at `next` may
be gone without a trace, which etcd's own check of the start revision overlooks: etcd#18089, etcd#19179) and when it lies in the
future (etcd was restored from a backup: its watch would be silent for ever).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import grpc.aio

from romana.errors import Unavailable
from romana.store.api import Batch
from romana.store.backoff import Outage
from romana.store.calls import cancelled_from_outside, failure
from romana.store.counts import WatchCounts
from romana.store.endpoints import Endpoints
from romana.store.etcdpb import rpc_pb2
from romana.store.history import Mark
from romana.store.keyspace import Keyspace
from romana.store.watch_cursor import WatchCursor

__all__ = ["EtcdWatch", "whole_response"]

log = logging.getLogger(__name__)

CREATE_TIMEOUT_S = 5.0

Probe = Callable[[int], Awaitable[Mark]]
"""Reads at a revision; gives what the answer said of the history, raises Compacted or Unavailable."""
Stream = grpc.aio.StreamStreamCall[rpc_pb2.WatchRequest, rpc_pb2.WatchResponse]


class EtcdWatch:
    """The changes below one prefix from one revision on. One task may iterate over it, once."""

    def __init__(
        self, endpoints: Endpoints, probe: Probe, space: Keyspace, prefix: str, revision: int, counts: WatchCounts
    ) -> None:
        self._endpoints = endpoints
        self._counts = counts
        self._probe = probe
        self._space = space
        self._prefix = prefix
        self._cursor = WatchCursor(space, prefix, revision)
        self._outage = Outage(log, "watch", prefix=prefix)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every change, for ever; ends when the store is closed, raises Compacted."""
        self._counts.wanted += 1
        try:
            async with aclosing(self._reopened()) as batches:
                async for batch in batches:
                    self._counts.batches += 1
                    yield batch
        finally:
            self._counts.wanted -= 1

    async def _reopened(self) -> AsyncGenerator[Batch, None]:
        """The batches of one stream after the other."""
        while not self._endpoints.closed():
            try:
                async with aclosing(self._stream()) as batches:
                    async for batch in batches:
                        yield batch
            except Unavailable as err:
                self._counts.interruptions += 1
                pause_s = self._outage.failed(err)
            except asyncio.CancelledError:
                if cancelled_from_outside() or not self._endpoints.closed():
                    raise
                return
            await asyncio.sleep(0 if self._endpoints.closed() else pause_s)

    async def _stream(self) -> AsyncGenerator[Batch, None]:
        """The batches of one stream; raises Unavailable when it breaks."""
        mark = await self._probe(self._cursor.following - 1)
        endpoint = self._endpoints.current()
        what = f"watch of {self._prefix!r} from revision {self._cursor.following}"
        metadata = endpoint.metadata
        call = endpoint.watch.Watch(metadata=metadata)
        stands = 0
        try:
            await self._create(call, mark)
            self._outage.over()
            stands = 1
            self._counts.standing += stands
            while True:
                batch = self._cursor.take(await whole_response(call))
                if batch is not None:
                    yield batch
        except grpc.aio.AioRpcError as err:
            self._endpoints.failed(endpoint)
            raise failure(err, endpoint, what, repeatable=True) from err
        except Unavailable:
            endpoint.token_refused(metadata)  # etcd 3.4 cancels the watch of a token that it does not know, and says no more
            self._endpoints.failed(endpoint)
            raise
        except TimeoutError as err:
            self._endpoints.failed(endpoint)
            raise Unavailable(f"etcd {endpoint.target}: {what}: not created within {CREATE_TIMEOUT_S} s") from err
        finally:
            self._counts.standing -= stands
            call.cancel()

    async def _create(self, call: Stream, mark: Mark) -> None:
        create = rpc_pb2.WatchCreateRequest(
            key=self._space.encode(self._prefix),
            range_end=self._space.end(self._prefix, prefix=True),
            start_revision=self._cursor.following,
            progress_notify=True,
            fragment=True,
        )
        async with asyncio.timeout(CREATE_TIMEOUT_S):
            await call.write(rpc_pb2.WatchRequest(create_request=create))
            created = await whole_response(call)
        self._cursor.check(created)
        header = created.header
        if header.cluster_id != mark.cluster_id or header.raft_term < mark.raft_term:
            raise Unavailable(f"etcd changed between the probe and the watch: {mark} became {Mark.of(header)}")


class Readable(Protocol):
    """What is read of a stream: grpc.aio's call, or a stand-in of a test."""

    async def read(self) -> object:
        """The next message, or grpc.aio.EOF."""


async def whole_response(call: Readable) -> rpc_pb2.WatchResponse:
    """The next response with its fragments joined; raises Unavailable at the stream's end.

    etcd never splits a revision over two responses, but a fragment may end anywhere."""
    whole: rpc_pb2.WatchResponse | None = None
    while True:
        piece = await call.read()
        if not isinstance(piece, rpc_pb2.WatchResponse):
            raise Unavailable("etcd ended the watch's stream")
        if whole is None:
            whole = piece  # nearly always all of it
        else:
            whole.MergeFrom(piece)
        if not piece.fragment:
            return whole
