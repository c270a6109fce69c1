"""A throw-away etcd for one benchmark: a member of its own on a unix socket, gone with its data, also when we are killed.

The kernel ends it with us (prctl(2), PR_SET_PDEATHSIG, by setpriv(1)); a directory that a killed run left goes with the next run.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from romana.errors import ConfigError, Unavailable

__all__ = ["ENVIRON", "Etcd", "folder", "require", "throw_away"]

PREFIX = "romana-bench-"
PLACE = Path("/var/tmp")  # noqa: S108 - a disk, as etcd's limit is one; the directory's name is drawn by mkdtemp
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
SOCKET = "client:0"


class Etcd:
    """One that runs."""

    def __init__(self, directory: Path) -> None:
        """`directory` is its working directory."""
        self.directory = directory

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.directory}/{SOCKET}"

    def ctl(self, *arguments: str) -> str:
        """What `etcdctl` prints for these arguments; blocking."""
        command = ["etcdctl", f"--endpoints=unix://{SOCKET}", *arguments]
        done = subprocess.run(command, cwd=self.directory, env=ENVIRON, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


ENVIRON = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@contextmanager
def throw_away() -> Iterator[Etcd]:
    """Start one and wait until it listens; raises ConfigError naming what is missing."""
    require("etcd", "setpriv")
    options = [f"--listen-client-urls=unix://{SOCKET}", f"--advertise-client-urls=unix://{SOCKET}"]
    options += ["--listen-peer-urls=unix://peer:0", "--initial-advertise-peer-urls=unix://peer:0"]
    options += ["--initial-cluster=default=unix://peer:0", "--data-dir=data", "--log-level=warn", "--logger=zap"]
    with folder() as directory:
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "etcd", *options, "--quota-backend-bytes=4294967296"],
                cwd=directory, env=ENVIRON, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _await_socket(process, directory)
            yield Etcd(directory)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def require(*programs: str) -> None:
    """Raises ConfigError that names those of etcd's programs that are not there."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not found: apt-get install etcd-server util-linux")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on disk that names this process and goes at the end, or, when we are killed, with the next run."""
    _remove_left_over()
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_pid()}-", dir=PLACE))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _await_socket(process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not (directory / SOCKET).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"etcd did not start: {(directory / 'log').read_text(errors='replace')[-500:]}")
        time.sleep(0.02)


def _pid() -> str:
    return Path("/proc/self").readlink().name


def _remove_left_over() -> None:
    for path in PLACE.glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(path, ignore_errors=True)
