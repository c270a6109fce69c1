"""What test runs that were killed left behind: their etcds, and 128 MB of data for each."""

import contextlib
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

__all__ = ["new_directory", "sweep"]


def new_directory() -> Path:
    """An empty directory that names this process, so that a later run can tell whether it is still wanted.

    Its path is short: a unix socket's address has 108 bytes at most (man 7 unix)."""
    return Path(tempfile.mkdtemp(prefix=f"romana-etcd-{os.getpid()}-"))


def sweep() -> None:
    """End the servers of processes that are gone, and remove their directories; those of other runs are left alone."""
    for directory in Path(tempfile.gettempdir()).glob("romana-etcd-*"):
        owner = re.match(r"romana-etcd-(\d+)-", directory.name)
        if owner is not None and not Path(f"/proc/{owner[1]}").exists():
            for pid in _working_in(directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(directory, ignore_errors=True)


def _working_in(directory: Path) -> list[int]:
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == directory:
                pids.append(int(process.name))
    return pids
