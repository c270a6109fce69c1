"""Sorting gRPC's and etcd's failures: was the request surely not applied, or was its answer lost? No I/O.

Sources: etcd v3.4, etcdserver/api/v3rpc/rpctypes/error.go (texts and codes); gRPC core's connection errors.
"""

import grpc

from romana.errors import Ambiguous, Compacted, InvalidInput, NotFound, Refused, RomanaError, Unavailable

__all__ = ["Rejected", "TokenRefused", "romana_error"]

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


class TokenRefused(Unavailable):
    """etcd does not take the token, and has not looked at the request: log in again."""


class Rejected(Unavailable):
    """etcd turns us away for what we are or show, or is full: it lasts until somebody mends it. The message says how."""


REFUSALS: dict[grpc.StatusCode, type[RomanaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.OUT_OF_RANGE: Compacted,  # also "required revision is a future revision": the history was replaced
    # A user, a role or a certificate: the operator mends it in etcd or in our files while we go on asking.
    grpc.StatusCode.PERMISSION_DENIED: Rejected,
    grpc.StatusCode.UNAUTHENTICATED: Rejected,
}

# Refusals of the token that a call went with, before anything was looked at.
TOKEN_REFUSED = ("invalid auth token", "revision of auth store is old", "user name is empty")

LOG_IN_REFUSED = "authentication failed, invalid user ID or password"

WAYS_OUT = (
    ("permission denied", "grant etcd.user's role what docs/operations.md lists for this program"),
    (LOG_IN_REFUSED, "correct etcd.user, or the password in the file etcd.password_file names"),
    ("user name is empty", "etcd asks for a log-in: set etcd.user and etcd.password_file"),
    ("database space exceeded", "compact and defragment etcd, then disarm its alarm: docs/operations.md"),
    ("CERTIFICATE_VERIFY_FAILED", "etcd's certificate is not one that etcd.ca vouches for, or lacks the name (etcd.server_name)"),
    (
        "Hostname Verification Check failed",
        "etcd's certificate has another name than the endpoint: set etcd.server_name to one it has",
    ),
    ("WRONG_VERSION_NUMBER", "etcd speaks no TLS there: leave etcd.ca empty, or name its TLS port"),
    ("CERTIFICATE_REQUIRED", "etcd asks for a client certificate: set etcd.cert and etcd.key"),
    ("ALERT", "etcd does not take our certificate: see etcd.cert and etcd.key"),
)


def romana_error(code: grpc.StatusCode, details: str, what: str, repeatable: bool) -> RomanaError:
    """The error to raise for a failed call. `what` says what was asked of whom; `repeatable`: asking again can do no harm."""
    way_out = next((f"; {way_out}" for text, way_out in WAYS_OUT if text in details), "")
    message = f"{what}: {code.name}: {details}{way_out}"
    if any(text in details for text in TOKEN_REFUSED):
        return TokenRefused(message)
    if LOG_IN_REFUSED in details:
        return Rejected(message)
    if code not in TRANSIENT:
        return REFUSALS.get(code, Refused)(message)
    if repeatable or any(text in details for text in NOT_APPLIED):
        return Rejected(message) if way_out else Unavailable(message)
    return Ambiguous(message)
