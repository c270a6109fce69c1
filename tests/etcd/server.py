"""A real etcd for tests: own data directory, unix sockets, ended by its own pid; nothing of it is left behind."""

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

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

    def __init__(
        self, *options: str, tls: bool = False, name: str = "it", of: Sequence[str] = ("it",), directory: Path | None = None
    ) -> None:
        """`options` go to etcd's command line, as "--quota-backend-bytes=16777216".

        `of`: the names of all members; they share one directory, as etcd names sockets relative to its working directory.
        """
        self._options = options
        self._scheme = "unixs" if tls else "unix"
        self._name, self._of = name, of
        self._owns = directory is None
        self.directory = directory or new_directory()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.directory}/{self._client}"

    @property
    def url(self) -> str:
        """As etcdctl takes it, in the working directory `directory`."""
        return f"{self._scheme}://{self._client}"

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of its process, which must be there."""
        assert self._process is not None
        return self._process.pid

    @property
    def _client(self) -> str:
        return f"{self._name}-c:0"

    @property
    def gate(self) -> str:
        """Another gRPC target for it, which `shut_gate` makes unreachable for new connections; open at first."""
        return f"unix:{self.directory}/gate"

    def open_gate(self) -> None:
        """Let clients of `gate` connect."""
        (self.directory / "gate").symlink_to(self._client)

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
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it on its data; a member of several answers only when most are there."""
        # etcd 3.4 takes unix://NAME:PORT for a socket file of that name in its working directory.
        client, peers = f"{self._scheme}://{self._client}", {name: f"unix://{name}-p:0" for name in self._of}
        options = [f"--name={self._name}", f"--data-dir={self.data.name}", "--log-level=warn", "--logger=zap"]
        options += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        options += [f"--listen-peer-urls={peers[self._name]}", f"--initial-advertise-peer-urls={peers[self._name]}"]
        options += ["--initial-cluster=" + ",".join(f"{name}={peer}" for name, peer in peers.items())]
        # One member elects itself; the default of 1 s is only waited for. The shortest lease is 1.5 times this, rounded up.
        beat_ms, election_ms = (50, 250) if len(self._of) == 1 else (100, 1000)
        options += [f"--heartbeat-interval={beat_ms}", f"--election-timeout={election_ms}"]
        # After a SIGKILL the sockets are still there, and etcd 3.4 will not take them over.
        for file in (self._client, f"{self._name}-p:0"):
            (self.directory / file).unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(["etcd", *options, *self._options], cwd=self.directory, stdout=log, stderr=log)

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / ("data" if self._owns else f"{self._name}-data")

    @property
    def _log(self) -> Path:
        return self.directory / ("log" if self._owns else f"{self._name}-log")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wipe(self, cluster: str = "") -> None:
        """Throw the data of a stopped server away: it starts with low revisions, as after a restore; with `cluster` as another
        cluster."""
        shutil.rmtree(self.data)
        if cluster:
            self._options = (*self._options, f"--initial-cluster-token={cluster}")

    def close(self) -> None:
        """End it and remove its directory."""
        self._end(signal.SIGKILL)
        if self._owns:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(number)
            self._process.wait()
            self._process = None

    def await_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        process = self._process
        while process is not None and process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)
        raise RuntimeError(f"etcd did not start: {self._log.read_text()[-2000:]}")

    def _answers(self) -> bool:
        """Whether gRPC gets through; with TLS, whether it listens. Never by a bare connection: one that is closed before etcd 3.4
        serves its socket was seen to keep it from ever serving."""
        if self._scheme == "unixs":
            return any(line.endswith(f" {self._client}") for line in Path("/proc/net/unix").read_text().splitlines())
        with grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=1.0)
            except grpc.FutureTimeoutError:
                return False
            return True
