"""The processes that the hammer hurts: members of an etcd and ipamd, in one folder on disk that goes with them.

Whoever ends without being told to is found; the kernel ends all with us (prctl(2), PR_SET_PDEATHSIG, by setpriv(1)).
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from romana.bench.etcd_server import ENVIRON, folder, require

__all__ = ["Process", "Rig", "rig"]

LOG_TAIL = 2000
COOLDOWN_S = 2
SNAPSHOT_COUNT = 2000  # entries; small, so that a member that was down for long is sent a snapshot


class Process:
    """One that can be started, killed, frozen and thawed; each is without effect where it does not apply."""

    def __init__(self, name: str, command: Sequence[str], cwd: Path, sockets: Sequence[str] = ()) -> None:
        self.name = name
        self._command = ("setpriv", "--pdeathsig", "KILL", *command)
        self._cwd = cwd
        self._sockets = sockets
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it if it does not run."""
        if self._process is not None:
            return
        for name in self._sockets:  # etcd 3.4 does not take over the socket of one that was killed
            (self._cwd / name).unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self._cwd, env=ENVIRON, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def ended(self) -> str:
        """How it ended by itself, with its last words, once; empty: it did not."""
        if self._process is None or self._process.poll() is None:
            return ""
        code, self._process = self._process.returncode, None
        return f"{self.name} ended with {code}: {self._log.read_text(errors='replace')[-LOG_TAIL:]}"

    @property
    def _log(self) -> Path:
        return self._cwd / f"{self.name}.log"


class Rig:
    """All processes, by kind."""

    def __init__(self, place: Path, members: int, ipamds: int) -> None:
        names = [f"etcd-{number + 1}" for number in range(members)]
        self.place = place
        self.endpoints = [f"unix:{place}/{name}:0" for name in names]
        self.members = [Process(name, _etcd(name, names), place, (f"{name}:0", f"{name}-peer:0")) for name in names]
        self.targets = [f"unix:{place}/ipamd-{number + 1}.sock" for number in range(ipamds)]
        self.ipamds = [self._ipamd(f"ipamd-{number + 1}", target) for number, target in enumerate(self.targets)]

    @property
    def processes(self) -> dict[str, Process]:
        """By name."""
        return {process.name: process for process in (*self.members, *self.ipamds)}

    def start(self) -> None:
        """Start all that do not run, and wake all."""
        for process in self.processes.values():
            process.start()
            process.thaw()

    def stop(self) -> None:
        """Kill all."""
        for process in self.processes.values():
            process.kill()

    def _ipamd(self, name: str, target: str) -> Process:
        endpoints = ", ".join(f'"{endpoint}"' for endpoint in self.endpoints)
        text = f'[etcd]\nendpoints = [{endpoints}]\n[ipam]\nlisten = ["{target}"]\ncooldown_s = {COOLDOWN_S}\n'
        (self.place / f"{name}.toml").write_text(text + '[log]\nlevel = "WARNING"\n[health]\nipamd = "off"\n')
        program = Path(sys.executable).parent / "romana-ipamd"
        return Process(name, (str(program), "--config", f"{name}.toml"), self.place)


@contextmanager
def rig(members: int, ipamds: int) -> Iterator[Rig]:
    """Start them; all is ended and removed at the end. Raises ConfigError naming what is missing."""
    require("etcd", "setpriv")
    with folder() as place:
        made = Rig(place, members, ipamds)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _etcd(name: str, all_names: Sequence[str]) -> tuple[str, ...]:
    client, peer = f"unix://{name}:0", f"unix://{name}-peer:0"
    cluster = ",".join(f"{other}=unix://{other}-peer:0" for other in all_names)
    return (
        "etcd",
        f"--name={name}",
        f"--data-dir={name}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={cluster}",
        f"--snapshot-count={SNAPSHOT_COUNT}",
        "--quota-backend-bytes=8589934592",
        "--log-level=error",
        "--logger=zap",
    )
