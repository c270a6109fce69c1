"""Our errors as gRPC statuses and back; faults travel beside the status in the trailing metadata `romana-faults-bin`."""

from collections.abc import Sequence

import grpc

from romana.errors import Conflict, Exhausted, Fault, InvalidInput, NotFound, Refused, RomanaError, Unavailable
from romana.v1.topology_pb2 import DocumentFault, Faults

__all__ = ["FAULTS_KEY", "from_rpc_error", "to_metadata", "to_status_code"]

FAULTS_KEY = "romana-faults-bin"  # "-bin": a binary value, gRPC over HTTP2, "Custom-Metadata"

_CODES: dict[type[RomanaError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Refused: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Conflict: grpc.StatusCode.ABORTED,
}

_ERRORS: dict[grpc.StatusCode, type[RomanaError]] = {
    code: error for error, code in _CODES.items() if error not in {InvalidInput, Refused}
}


def to_status_code(err: RomanaError) -> grpc.StatusCode:
    """The status that tells a client what to do; what is in no row (Ambiguous too) can be tried again: UNAVAILABLE."""
    return next((code for error, code in _CODES.items() if isinstance(err, error)), grpc.StatusCode.UNAVAILABLE)


def to_metadata(err: RomanaError) -> tuple[tuple[str, bytes], ...]:
    """The error's faults as trailing metadata; empty when it has none."""
    faults: Sequence[Fault] = getattr(err, "faults", ())
    if not faults:
        return ()
    message = Faults(faults=[DocumentFault(path=fault.path, message=fault.message) for fault in faults])
    return ((FAULTS_KEY, message.SerializeToString()),)


def from_rpc_error(err: grpc.aio.AioRpcError, endpoint: str) -> RomanaError:
    """The error that the server raised; anything that is not an answer of ours is `Unavailable` and names the endpoint."""
    code, text = err.code(), err.details() or ""
    faults = _faults(err)
    first_line = text.split("\n", 1)[0] if faults else text
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(first_line, faults)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Refused(first_line, faults)
    if code in _ERRORS:
        return _ERRORS[code](text)
    return Unavailable(f"{endpoint} answered {code.name}: {text}")


def _faults(err: grpc.aio.AioRpcError) -> list[Fault]:
    for key, value in err.trailing_metadata() or ():
        if key == FAULTS_KEY and isinstance(value, bytes):
            return [Fault(fault.path, fault.message) for fault in Faults.FromString(value).faults]
    return []
