"""Files that a command line names."""

import sys
from pathlib import Path

from romana.errors import UsageError

__all__ = ["read_document"]


def read_document(file: str) -> bytes:
    """The bytes of a file, or of standard input for `-`; raises UsageError when it cannot be read."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as err:
        raise UsageError(f"{file} cannot be read: {err.strerror}") from err
    except ValueError as err:  # a NUL in the name
        raise UsageError(f"{file!r} cannot be the name of a file: {err}") from err
