"""Every error that we raise on purpose, sorted by who must act. Pure.

Anything else that is raised is a bug and ends the process. A message says what was tried, with what, and what came back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "Ambiguous",
    "Compacted",
    "ConfigError",
    "Conflict",
    "Exhausted",
    "FatalError",
    "Fault",
    "InvalidInput",
    "NotFound",
    "Refused",
    "RomanaError",
    "Unavailable",
    "UsageError",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a document: where, what stands there, and what would be accepted."""

    path: str
    """Path in the document, as `topologies[0].map[2].groups`; empty for the document itself."""
    message: str
    """Names the value found and what would be accepted."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class RomanaError(Exception):
    """Base of all errors that we raise on purpose.

    `reason` is for programs, such as "NETWORK_EXHAUSTED"; empty where the class says it all. proto/romana/v1/ipam.proto lists
    those of the allocation API.
    """

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class _Faulty(RomanaError):
    """An error that lists every fault of a document at once."""

    def __init__(self, message: str, faults: Sequence[Fault] = (), *, reason: str = "") -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([message, *(f"  {fault}" for fault in self.faults)]), reason=reason)


class ConfigError(_Faulty):
    """The operator must correct the configuration and start again; the message lists every problem."""


class InvalidInput(_Faulty):
    """The request can never succeed as it is; the caller must change it. gRPC INVALID_ARGUMENT."""


class UsageError(InvalidInput):
    """The arguments of a command cannot be understood, or name a file that cannot be opened: nothing was asked of anyone."""


class Refused(_Faulty):
    """The request is well-formed, but the present state does not allow it. gRPC FAILED_PRECONDITION."""


class NotFound(RomanaError):
    """The named object does not exist. gRPC NOT_FOUND."""


class Exhausted(RomanaError):
    """Addresses or sets are used up; the operator must add some. gRPC RESOURCE_EXHAUSTED."""


class Conflict(RomanaError):
    """Somebody else changed what we were about to change: read again and try again. gRPC ABORTED."""


class Unavailable(RomanaError):
    """The other side cannot be reached or cannot answer now; nothing was changed; try later. gRPC UNAVAILABLE."""


class Ambiguous(RomanaError):
    """A write was sent and its answer was lost: it may or may not have happened. Read back before trying again."""


class Compacted(RomanaError):
    """The history from the wanted revision on is gone: list again."""

    def __init__(self, message: str, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class FatalError(RomanaError):
    """The process cannot go on; its supervisor must start it again."""
