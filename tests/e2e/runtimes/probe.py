"""Whether this machine can run containers at all: a chroot whose root is no mount point cannot."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["lacks"]

CGROUPS = Path("/sys/fs/cgroup")
PIVOT = 'mount -t tmpfs tmpfs "$0" && cd "$0" && mkdir old && pivot_root . old'


def lacks(*programs: str) -> str:
    """Why containers cannot be run by these programs here; empty when they can."""
    absent = [program for program in programs if not shutil.which(program)]
    if absent:
        return f"not installed: {', '.join(absent)}; ./dev test installs them as root"
    return lacks_pivot_root() or lacks_cgroups()


@cache
def lacks_pivot_root() -> str:
    """pivot_root(2): EINVAL where the root is not a mount point."""
    with tempfile.TemporaryDirectory(prefix="pivot-") as folder:
        done = subprocess.run(["unshare", "--mount", "sh", "-c", PIVOT, folder], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return f"no pivot_root here ({done.stderr.strip()}): a plain chroot; `mount --bind DIR DIR` before it cures that"


@cache
def lacks_cgroups() -> str:
    """cgroups(7): version 1 has a folder for each controller, version 2 one for all."""
    unified = (CGROUPS / "cgroup.procs").exists()
    folder = (CGROUPS if unified else CGROUPS / "pids") / f"romana-probe-{os.getpid()}"
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError as err:
        return f"no writable cgroups at {CGROUPS} ({err})"
    return ""
