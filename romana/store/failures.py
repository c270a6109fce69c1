"""Sorting gRPC's and etcd's failures: was the request surely not applied, or was its answer lost? No I/O.

Sources: etcd v3.4, etcdserver/api/v3rpc/rpctypes/error.go (texts and codes); gRPC core's connection errors.
"""

import grpc

from romana.errors import Ambiguous, Compacted, InvalidInput, NotFound, Refused, RomanaError, Unavailable

__all__ = ["romana_error"]

# Texts of failures that happened before anything was applied: etcd refused at the door, or the request never left us. Any other
# failure of the same codes may have struck later: "etcdserver: request timed out", a lost connection, a deadline.
NOT_APPLIED = (
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "mvcc: database space exceeded",
    "failed to connect to all addresses",
    "Connection refused",
)

# Codes with which etcd, or the way to it, fails for now; all others are its considered refusal.
TRANSIENT = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)

REFUSALS: dict[grpc.StatusCode, type[RomanaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.OUT_OF_RANGE: Compacted,  # also "required revision is a future revision": the history was replaced
}


def romana_error(code: grpc.StatusCode, details: str, what: str, repeatable: bool) -> RomanaError:
    """The error to raise for a failed call. `what` says what was asked of whom; `repeatable`: asking again can do no harm."""
    message = f"{what}: {code.name}: {details}"
    if code not in TRANSIENT:
        return REFUSALS.get(code, Refused)(message)
    if repeatable or any(text in details for text in NOT_APPLIED):
        return Unavailable(message)
    return Ambiguous(message)
