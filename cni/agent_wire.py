"""What the shim and the agent say to each other. Pure. This docstring is the protocol's only description.

The shim connects to the agent's unix stream socket, sends one request, reads one answer, and goes.

    request  "ROM1" | u32 length of the environment | u32 length of standard input | environment | standard input
    answer   u8 exit status (0 or 1) | u32 length | bytes for standard output

Lengths are big-endian. The environment is `NAME=VALUE`, separated by NUL: every CNI_* variable, and ROMANA_STARTED_NS, the shim's
start by CLOCK_MONOTONIC. ADD and CHECK carry, with the first byte, the open network namespace as SCM_RIGHTS (man 7 unix); DEL
does if it can be opened.
The shim keeps its sending side open: when it closes before the answer, it was killed, and a running ADD is undone.
"""

import struct
from collections.abc import Mapping

from romana.errors import InvalidInput

__all__ = ["HEADER_BYTES", "encode_answer", "parse_environment", "parse_header"]

MAGIC = b"ROM1"
_HEADER = struct.Struct(">4sII")
HEADER_BYTES = _HEADER.size

ENVIRONMENT_MAX = 4 << 20  # several times ARG_MAX's default, man 3 sysconf
STDIN_MAX = 64 << 20


def parse_header(header: bytes) -> tuple[int, int]:
    """Lengths of environment and standard input; raises InvalidInput for another protocol or an absurd length."""
    magic, environment, stdin = _HEADER.unpack(header)
    if magic != MAGIC or environment > ENVIRONMENT_MAX or stdin > STDIN_MAX:
        raise InvalidInput(f"request begins with {header!r}; must be {MAGIC!r} and two lengths of sensible size")
    return environment, stdin


def parse_environment(block: bytes) -> Mapping[str, str]:
    """Variables by name."""
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return {_text(name): _text(value) for name, _, value in pairs}


def encode_answer(status: int, stdout: bytes) -> bytes:
    """The answer to send."""
    return struct.pack(">BI", status, len(stdout)) + stdout


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
