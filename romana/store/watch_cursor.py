"""Where a watch stands, and what of a response is new to it. Pure, but for the stubs."""

from romana.errors import Compacted, Unavailable
from romana.store import wire
from romana.store.api import Batch
from romana.store.etcdpb import rpc_pb2
from romana.store.keyspace import Keyspace

__all__ = ["WatchCursor"]


class WatchCursor:
    """The first revision that a watch has not seen: its last event's revision + 1.

    Never taken from the header of a response with events: in a catch-up etcd sends at most 1,000 revisions in a response, while
    the header tells the store's revision already."""

    def __init__(self, space: Keyspace, prefix: str, following: int) -> None:
        self.following = following
        self._space = space
        self._prefix = prefix

    def check(self, response: rpc_pb2.WatchResponse) -> None:
        """Raise Compacted or Unavailable when etcd has cancelled the watch."""
        if response.canceled:
            what = f"etcd cancelled the watch of {self._prefix!r} from revision {self.following}: {response.cancel_reason}"
            first = response.compact_revision
            raise Compacted(what, first) if first else Unavailable(what)

    def take(self, response: rpc_pb2.WatchResponse) -> Batch | None:
        """What is new in a whole response: nothing in a progress notification, nor in events that a lagging member repeats
        (etcd#20221). Raises as `check` does."""
        self.check(response)
        events = tuple(wire.event(self._space, event) for event in response.events if event.kv.mod_revision >= self.following)
        if events:
            self.following = events[-1].mod_revision + 1
            return Batch(events[-1].mod_revision, events)
        if not response.events:
            self.following = max(self.following, response.header.revision + 1)
        return None
