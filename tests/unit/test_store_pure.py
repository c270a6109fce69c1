"""The store's pure parts: versions, limits, keys, the sorting of failures, the signs of a replaced history, a watch's cursor."""

from collections.abc import Sequence

import grpc
import pytest

from romana.errors import Ambiguous, Compacted, InvalidInput, NotFound, Refused, RomanaError, Unavailable
from romana.store.backoff import pauses
from romana.store.endpoints import Endpoints
from romana.store.etcd_watch import whole_response
from romana.store.etcdpb import kv_pb2, rpc_pb2
from romana.store.failures import Rejected, TokenRefused, romana_error
from romana.store.history import Epoch, History, Mark
from romana.store.keyspace import Keyspace
from romana.store.versions import unsupported
from romana.store.watch_cursor import WatchCursor

SPACE = Keyspace("/p/")


@pytest.mark.parametrize("version", ["3.4.22", "3.4.23", "3.5.3", "3.5.4", "3.5.6", "3.5.16", "3.6.0", "v3.5.21", "3.6.0-rc.1"])
def test_good_etcd_is_accepted(version: str) -> None:
    assert unsupported(version) is None


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("3.4.21", "too old"),
        ("3.3.27", "too old"),
        ("2.3.8", "too old"),
        ("3.5.0", "etcd#13766"),
        ("3.5.1", "etcd#13766"),
        ("3.5.2", "etcd#13766"),
        ("3.5.5", "etcd#14685"),
        ("", "not of the form"),
        ("3.4", "not of the form"),
    ],
)
def test_bad_etcd_is_refused_with_the_reason(version: str, reason: str) -> None:
    assert reason in (unsupported(version) or "")


@pytest.mark.parametrize(
    ("key", "prefix", "start", "end"),
    [
        ("a", False, b"/p/a", b""),
        ("a", True, b"/p/a", b"/p/b"),
        ("a/", True, b"/p/a/", b"/p/a0"),
        ("", True, b"/p/", b"/p0"),
        ("é", True, "/p/é".encode(), b"/p/\xc3\xaa"),
    ],
)
def test_range_of_a_prefix_ends_after_its_last_key(key: str, prefix: bool, start: bytes, end: bytes) -> None:
    assert (SPACE.encode(key), SPACE.end(key, prefix)) == (start, end)


def test_keys_are_relative_to_the_prefix() -> None:
    assert SPACE.decode(SPACE.encode("nodes/é")) == "nodes/é"


def test_empty_prefix_of_the_store_is_refused() -> None:
    with pytest.raises(InvalidInput, match="prefix is empty"):
        Keyspace("")


def test_no_endpoint_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no etcd endpoint"):
        Endpoints(())


C = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "write", "read"),
    [
        (C.UNAVAILABLE, "etcdserver: no leader", Unavailable, Unavailable),
        (C.UNAVAILABLE, "etcdserver: request timed out", Ambiguous, Unavailable),
        (C.UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost", Ambiguous, Unavailable),
        (C.UNAVAILABLE, "failed to connect to all addresses; last error: Connection refused", Unavailable, Unavailable),
        (C.UNAVAILABLE, "Stream removed (recvmsg:Connection reset by peer (104))", Ambiguous, Unavailable),
        (C.UNAVAILABLE, "Stream removed (ping timeout)", Ambiguous, Unavailable),
        (C.UNAVAILABLE, "Socket closed", Ambiguous, Unavailable),
        (C.DEADLINE_EXCEEDED, "Deadline Exceeded", Ambiguous, Unavailable),
        (C.INTERNAL, "", Ambiguous, Unavailable),
        (C.UNKNOWN, "etcdserver: server stopped", Ambiguous, Unavailable),
        (C.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Rejected, Rejected),
        (C.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Unavailable, Unavailable),
        (C.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max", Ambiguous, Unavailable),
        (C.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted, Compacted),
        (C.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", Compacted, Compacted),
        (C.NOT_FOUND, "etcdserver: requested lease not found", NotFound, NotFound),
        (C.INVALID_ARGUMENT, "etcdserver: request is too large", InvalidInput, InvalidInput),
        (C.PERMISSION_DENIED, "etcdserver: permission denied", Rejected, Rejected),
        (C.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", Rejected, Rejected),
        (C.UNAUTHENTICATED, "etcdserver: invalid auth token", TokenRefused, TokenRefused),
        (C.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", TokenRefused, TokenRefused),
        (C.INVALID_ARGUMENT, "etcdserver: user name is empty", TokenRefused, TokenRefused),
        (C.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Refused, Refused),
    ],
)
def test_failure_is_sorted_by_whether_it_was_surely_not_applied(
    code: grpc.StatusCode, details: str, write: type[RomanaError], read: type[RomanaError]
) -> None:
    assert type(romana_error(code, details, "txn", repeatable=False)) is write
    assert type(romana_error(code, details, "get", repeatable=True)) is read


def test_message_of_a_failure_says_what_was_asked_and_what_came_back() -> None:
    assert str(romana_error(C.INTERNAL, "broken", "etcd h:1: get 'a'", repeatable=True)) == "etcd h:1: get 'a': INTERNAL: broken"


@pytest.mark.parametrize(
    ("sent", "seen", "replaced"),
    [
        ((1, 5, 100), (1, 5, 100), 0),
        ((1, 5, 100), (1, 6, 101), 0),
        ((1, 5, 100), (1, 5, 99), 1),
        ((1, 5, 100), (1, 4, 200), 1),
        ((1, 5, 100), (2, 5, 100), 1),
    ],
)
def test_history_that_goes_back_was_replaced(sent: tuple[int, int, int], seen: tuple[int, int, int], replaced: int) -> None:
    history = History()
    history.observe(history.now, Mark(*sent))
    history.observe(history.now, Mark(*seen))
    assert history.now == Epoch(replaced, Mark(*seen))


def test_answers_that_overtake_one_another_replace_nothing() -> None:
    history = History()
    history.observe(history.now, Mark(1, 1, 10))
    sent = history.now
    history.observe(sent, Mark(1, 1, 12))
    history.observe(sent, Mark(1, 1, 11))
    assert history.now == Epoch(0, Mark(1, 1, 12))


@pytest.mark.parametrize("second", [Mark(1, 2, 4), Mark(1, 2, 6), Mark(1, 9, 100)])
def test_one_replacement_seen_by_two_answers_counts_once(second: Mark) -> None:
    history = History()
    history.observe(history.now, Mark(1, 9, 100))
    sent = history.now
    history.observe(sent, Mark(1, 2, 5))
    history.observe(sent, second)
    assert history.now == Epoch(1, Mark(1, 2, 5))


def response(revisions: Sequence[int], header: int, fragment: bool = False) -> rpc_pb2.WatchResponse:
    """A watch response with one put per revision."""
    events = [kv_pb2.Event(kv=kv_pb2.KeyValue(key=b"/p/k", mod_revision=revision)) for revision in revisions]
    return rpc_pb2.WatchResponse(header=rpc_pb2.ResponseHeader(revision=header), events=events, fragment=fragment)


def test_watch_resumes_after_the_last_event_not_after_the_header() -> None:
    cursor = WatchCursor(SPACE, "", 5)
    batch = cursor.take(response([5, 6, 6], header=9000))
    assert batch is not None
    assert (batch.revision, len(batch.events), cursor.following) == (6, 3, 7)


def test_events_that_were_seen_already_are_dropped() -> None:
    cursor = WatchCursor(SPACE, "", 7)
    assert cursor.take(response([5, 6], header=9000)) is None
    assert cursor.following == 7
    batch = cursor.take(response([6, 7], header=9000))
    assert batch is not None
    assert [event.mod_revision for event in batch.events] == [7]


def test_progress_notification_moves_the_resume_point_forward_only() -> None:
    cursor = WatchCursor(SPACE, "", 7)
    assert cursor.take(response([], header=20)) is None
    assert cursor.following == 21
    cursor.take(response([], header=10))
    assert cursor.following == 21


def test_cancelled_watch_is_compacted_or_unavailable() -> None:
    cursor = WatchCursor(SPACE, "", 7)
    with pytest.raises(Compacted) as caught:
        cursor.take(rpc_pb2.WatchResponse(canceled=True, compact_revision=30))
    assert caught.value.compact_revision == 30
    with pytest.raises(Unavailable, match="no leader"):
        cursor.take(rpc_pb2.WatchResponse(canceled=True, cancel_reason="etcdserver: no leader"))


class _Pieces:
    """Stands for a stream: gives its responses one by one, then gRPC's end of file."""

    def __init__(self, *pieces: rpc_pb2.WatchResponse) -> None:
        self._pieces = iter(pieces)

    async def read(self) -> object:
        """The next piece."""
        return next(self._pieces, grpc.aio.EOF)


async def test_fragments_are_joined_before_anything_is_handed_on() -> None:
    stream = _Pieces(response([5, 6], 9, fragment=True), response([6], 9, fragment=True), response([6, 7], 9), response([8], 9))
    wholes = [await whole_response(stream), await whole_response(stream)]
    assert [[event.kv.mod_revision for event in whole.events] for whole in wholes] == [[5, 6, 6, 6, 7], [8]]
    with pytest.raises(Unavailable, match="ended"):
        await whole_response(stream)


def test_pauses_grow_to_the_cap_and_are_jittered() -> None:
    gaps = pauses(0.1, 1.0)
    for limit_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert limit_s / 2 <= next(gaps) <= limit_s
