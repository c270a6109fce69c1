"""Our errors as gRPC statuses and back; trailing metadata carry faults (`romana-faults-bin`) and the reason (`romana-reason`).

Text and faults together stay below what any client takes unasked: past 8 KiB of metadata (gRPC core,
GRPC_ARG_MAX_METADATA_SIZE) a client sees RESOURCE_EXHAUSTED in the error's place. A longer list ends in how many more there are;
`Topology.Check` answers with all of them.
"""

from collections.abc import Sequence

import grpc

from romana.errors import Conflict, Exhausted, Fault, InvalidInput, NotFound, Refused, RomanaError, Unavailable
from romana.v1.topology_pb2 import DocumentFault, Faults

__all__ = ["FAULTS_KEY", "REASON_KEY", "error_of", "from_rpc_error", "reason_of", "to_details", "to_metadata", "to_status_code"]

FAULTS_KEY = "romana-faults-bin"  # "-bin": a binary value, gRPC over HTTP2, "Custom-Metadata"

REASON_KEY = "romana-reason"

FAULTS_MAX_BYTES = 3072  # of 8 KiB; base64 makes them 4096
DETAILS_MAX_BYTES = 3072  # percent-encoded, gRPC over HTTP2, "Status-Message"

_CODES: dict[type[RomanaError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Refused: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Conflict: grpc.StatusCode.ABORTED,
}

_REASONS: dict[type[RomanaError], str] = {
    InvalidInput: "INVALID_REQUEST",
    Refused: "REFUSED",
    NotFound: "NOT_FOUND",
    Exhausted: "EXHAUSTED",
    Conflict: "CONFLICT",
}
"""Of errors that have none of their own; what is in no row can be tried again: UNAVAILABLE."""

_ERRORS: dict[grpc.StatusCode, type[RomanaError]] = {
    code: error for error, code in _CODES.items() if error not in {InvalidInput, Refused}
}


def to_status_code(err: RomanaError) -> grpc.StatusCode:
    """The status that tells a client what to do; what is in no row (Ambiguous too) can be tried again: UNAVAILABLE."""
    return next((code for error, code in _CODES.items() if isinstance(err, error)), grpc.StatusCode.UNAVAILABLE)


def to_details(err: RomanaError) -> str:
    """The error's words as the status carries them: cut at a whole line where they are too long, else at a whole character."""
    text = str(err)
    if _encoded_size(text) <= DETAILS_MAX_BYTES:
        return text
    lines, kept, size = text.split("\n"), [], 0
    for line in lines:
        size += _encoded_size(line) + 3
        if size > DETAILS_MAX_BYTES:
            break
        kept.append(line)
    return (
        "\n".join([*kept, f"  ... and {len(lines) - len(kept)} lines more"]) if kept else text[: DETAILS_MAX_BYTES // 12] + "..."
    )


def reason_of(err: RomanaError) -> str:
    """Its reason for programs; never empty."""
    return err.reason or next((reason for error, reason in _REASONS.items() if isinstance(err, error)), "UNAVAILABLE")


def to_metadata(err: RomanaError) -> tuple[tuple[str, bytes | str], ...]:
    """The error's reason and, where it has some, its faults as trailing metadata."""
    reason = ((REASON_KEY, reason_of(err)),)
    faults: Sequence[Fault] = getattr(err, "faults", ())
    if not faults:
        return reason
    message = Faults()
    for index, fault in enumerate(faults):
        entry = DocumentFault(path=fault.path, message=fault.message)
        if message.ByteSize() + entry.ByteSize() > FAULTS_MAX_BYTES:
            message.faults.append(DocumentFault(message=f"and {len(faults) - index} faults more"))
            break
        message.faults.append(entry)
    return (*reason, (FAULTS_KEY, message.SerializeToString()))


def from_rpc_error(err: grpc.aio.AioRpcError, endpoint: str) -> RomanaError:
    """The error that the server raised; anything that is not an answer of ours is `Unavailable` and names the endpoint."""
    code, text = err.code(), err.details() or ""
    faults = _faults(err)
    first_line = text.split("\n", 1)[0] if faults else text
    reason = next((str(value) for key, value in err.trailing_metadata() or () if key == REASON_KEY), "")
    return _error(code, first_line, faults, reason) or Unavailable(f"{endpoint} answered {code.name}: {text}", reason=reason)


def error_of(code: int, message: str, reason: str) -> RomanaError:
    """The error that one request of a batch ended in, from its number of a status, its words and its reason."""
    status = next((status for status in grpc.StatusCode if status.value[0] == code), grpc.StatusCode.UNKNOWN)
    return _error(status, message, [], reason) or Unavailable(f"{status.name}: {message}", reason=reason)


def _error(code: grpc.StatusCode, text: str, faults: Sequence[Fault], reason: str) -> RomanaError | None:
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(text, faults, reason=reason)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Refused(text, faults, reason=reason)
    return _ERRORS[code](text, reason=reason) if code in _ERRORS else None


def _encoded_size(text: str) -> int:
    return sum(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in text)


def _faults(err: grpc.aio.AioRpcError) -> list[Fault]:
    for key, value in err.trailing_metadata() or ():
        if key == FAULTS_KEY and isinstance(value, bytes):
            return [Fault(fault.path, fault.message) for fault in Faults.FromString(value).faults]
    return []
