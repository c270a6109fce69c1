"""A real etcd for tests: own data directory, one unix socket, ended by its own pid; nothing of it is left behind."""

import shutil
import signal
import subprocess
import time

import grpc

from tests.etcd.leftovers import new_directory

__all__ = ["EtcdServer"]

START_TIMEOUT_S = 60.0
# Its own connection, tried again soon: the socket is not there at first.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 30),
    ("grpc.max_reconnect_backoff_ms", 100),
)


class EtcdServer:
    """One etcd of one member. Use it as a context manager; `kill`, `start`, `freeze`, `thaw` and `wipe` are its faults."""

    def __init__(self, *options: str) -> None:
        """`options` go to etcd's command line, as "--quota-backend-bytes=16777216"."""
        self._options = options
        self.directory = new_directory()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.directory}/client:0"

    @property
    def gate(self) -> str:
        """Another gRPC target for it, which `shut_gate` makes unreachable for new connections; open at first."""
        return f"unix:{self.directory}/gate"

    def open_gate(self) -> None:
        """Let clients of `gate` connect."""
        (self.directory / "gate").symlink_to("client:0")

    def shut_gate(self) -> None:
        """Refuse clients of `gate` as if nothing listened; connections that stand are left."""
        (self.directory / "gate").unlink()

    def __enter__(self) -> "EtcdServer":
        try:
            self.open_gate()
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
        # One member elects itself; the default of 1 s is only waited for. The shortest lease is 1.5 times this, rounded up.
        options += ["--heartbeat-interval=50", "--election-timeout=250"]
        # After a SIGKILL the sockets are still there, and etcd 3.4 will not take them over.
        for name in ("client:0", "peer:0"):
            (self.directory / name).unlink(missing_ok=True)
        with (self.directory / "log").open("ab") as log:
            command = ["etcd", *options, *self._options, "--log-level=warn", "--logger=zap"]
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
        with grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS) as channel:
            ready = grpc.channel_ready_future(channel)
            while process is not None and process.poll() is None and time.monotonic() < deadline:
                try:
                    ready.result(timeout=0.2)
                except grpc.FutureTimeoutError:
                    continue
                return
        raise RuntimeError(f"etcd did not start: {(self.directory / 'log').read_text()[-2000:]}")
