"""A file of lines that grows by one write for each, and is written anew, by rename, when its owner says so. Blocking.

Whole lines or none: half a line, as a full disk leaves it, is ended before the next, so that it costs itself alone. Whatever
fails, the descriptor stays the file's own; nobody else's is ever written to. Callers keep their threads apart.
"""

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["LineFile"]

FULL = {errno.ENOSPC, errno.EDQUOT}
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LineFile:
    """`start` it before anything else."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._fd = -1
        self._is_torn = False

    def start(self, lines: Iterable[str]) -> bool:
        """Write it anew; False where the disk is too full for that: then it goes on behind what it has. Raises OSError."""
        try:
            self.renew(lines)
        except OSError as err:
            if err.errno not in FULL:
                raise
            self._fd, self._is_torn = os.open(self._file, FLAGS, 0o600), True  # its last line may be half a one
            return False
        return True

    def renew(self, lines: Iterable[str]) -> None:
        """These lines, and no others; raises OSError, and then the file is as it was, and takes lines still.

        What is opened is what is renamed: opened afterwards, for want of a descriptor we might be left with the file of before.
        """
        part = self._file.with_suffix(".part")
        fd = os.open(part, FLAGS | os.O_TRUNC, 0o600)
        try:
            with open(fd, "wb", closefd=False) as stream:
                stream.write("".join(f"{line}\n" for line in lines).encode())
            part.rename(self._file)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                part.unlink()  # what it takes of a full disk
            raise
        self.close()
        self._fd, self._is_torn = fd, False

    def append(self, line: str) -> None:
        """One line more; raises OSError when it is not wholly there."""
        blob = f"{line}\n".encode()
        if self._is_torn:  # what follows half a line must not be lost with it
            blob = b"\n" + blob
        written = os.write(self._fd, blob)
        self._is_torn = written < len(blob)  # man 2 write: a disk that fills up takes a part
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))

    def close(self) -> None:
        """Take no more; a line that comes nevertheless raises OSError."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
