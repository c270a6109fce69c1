"""`history`, `restored` and `restored/<node>` as the store's bytes (romana.v1.store), and back. See `ipam.codec`."""

from collections.abc import Iterable

from ipam.codec import parse, timestamp
from ipam.history import HistoryRecord
from ipam.reasserting import Heard
from romana import keys
from romana.store.api import KeyValue
from romana.v1 import store_pb2

__all__ = ["read_heard", "read_history", "read_restored", "unknown_nodes", "write_heard", "write_history", "write_restored"]

_HEARD = {
    store_pb2.REASSERTED_STATE_DONE: Heard.ALL,
    store_pb2.REASSERTED_STATE_SPOKEN: Heard.SPOKEN,
    store_pb2.REASSERTED_STATE_GIVEN_UP: Heard.GIVEN_UP,
}
_STATES = {heard: state for state, heard in _HEARD.items()} | {Heard.NOTHING: store_pb2.REASSERTED_STATE_UNKNOWN_NODE}


def read_history(item: KeyValue | None) -> HistoryRecord | None:
    """The history; one that cannot be read is nobody's: its cluster id is 0, so that a recovery begins."""
    if item is None:
        return None
    message = parse(store_pb2.History, item)
    return HistoryRecord(message.id, message.cluster_id, tuple(message.former))


def write_history(record: HistoryRecord) -> bytes:
    """Value of `history`."""
    return store_pb2.History(id=record.id, cluster_id=record.cluster_id, former=record.former).SerializeToString()


def read_restored(item: KeyValue) -> store_pb2.Restored:
    """What began the recovery under way."""
    return parse(store_pb2.Restored, item)


def write_restored(noticed_ms: int, reason: str) -> bytes:
    """Value of `restored`."""
    return store_pb2.Restored(noticed=timestamp(noticed_ms), reason=reason).SerializeToString()


def read_heard(items: Iterable[KeyValue]) -> dict[str, Heard]:
    """By node, what `restored/<node>` says; a value that cannot be read says that nothing was heard."""
    states = ((item.key, parse(store_pb2.Reasserted, item).state) for item in items if item.key.startswith(keys.RESTORED_NODES))
    return {key.removeprefix(keys.RESTORED_NODES): _HEARD.get(state, Heard.NOTHING) for key, state in states}


def unknown_nodes(heard: dict[str, Heard]) -> list[str]:
    """Nodes that have called, and of which nothing is heard: the store did not know them."""
    return [name for name, what in heard.items() if what is Heard.NOTHING]


def write_heard(heard: Heard) -> bytes:
    """Value of `restored/<node>`."""
    return store_pb2.Reasserted(state=_STATES[heard]).SerializeToString()
