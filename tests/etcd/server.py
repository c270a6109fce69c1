"""A real etcd for tests: own data directory, one unix socket, ended by its own pid; nothing of it is left behind."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import grpc

__all__ = ["EtcdServer"]

START_TIMEOUT_S = 60.0


class EtcdServer:
    """One etcd of one member. Use it as a context manager; `kill`, `start`, `freeze`, `thaw` and `wipe` are its faults."""

    def __init__(self) -> None:
        # A short path: a unix socket's address has 108 bytes at most (man 7 unix). etcd preallocates 128 MB in it.
        self.directory = Path(tempfile.mkdtemp(prefix="etcd-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.directory}/client:0"

    def __enter__(self) -> "EtcdServer":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it on its data and wait until it answers."""
        # etcd 3.4 takes unix://NAME:PORT for a socket file of that name in its working directory.
        client, peer = "unix://client:0", "unix://peer:0"
        options = ["--name=it", "--data-dir=data", f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        options += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=it={peer}"]
        # Its data is thrown away: no fsync is worth waiting for, but 3.4 has no way to leave it out.
        with (self.directory / "log").open("ab") as log:
            command = ["etcd", *options, "--log-level=warn", "--logger=zap"]
            self._process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        self._await_ready()

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Throw the data of a stopped server away: it starts with low revisions, as after a restore."""
        shutil.rmtree(self.directory / "data")

    def close(self) -> None:
        """End it and remove its directory."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(number)
            self._process.wait()
            self._process = None

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        process = self._process
        with grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            ready = grpc.channel_ready_future(channel)
            while process is not None and process.poll() is None and time.monotonic() < deadline:
                try:
                    ready.result(timeout=0.2)
                except grpc.FutureTimeoutError:
                    continue
                return
        raise RuntimeError(f"etcd did not start: {(self.directory / 'log').read_text()[-2000:]}")
