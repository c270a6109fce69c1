"""Two nodes as network namespaces on one veth pair, for tests of routed; nothing is made in the machine's own namespace.

n1: 192.0.2.1, 2001:db8::1  ──veth──  n2: 192.0.2.2, 192.0.2.3, 2001:db8::2
"""

import asyncio
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from romana import keys
from romana.store.api import Delete, Op, Put, Store
from romana.v1 import store_pb2

__all__ = ["Lab", "Routed", "Stream", "block", "inside", "no_block", "node", "run_inside", "write"]

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000  # linux/sched.h


class Lab:
    """The two namespaces. Use it as a context manager."""

    def __init__(self) -> None:
        tag = secrets.token_hex(4)
        self.n1, self.n2 = f"rt1-{tag}", f"rt2-{tag}"

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def ip(self, *arguments: str) -> str:
        """Run `ip` in n1."""
        return _run("ip", "-n", self.n1, *arguments)

    def batch(self, commands: str) -> None:
        """Run many `ip` commands in n1 at once."""
        subprocess.run(["ip", "-n", self.n1, "-batch", "-"], input=commands, text=True, check=True)

    def monitor(self) -> subprocess.Popen[str]:
        """`ip monitor route` in n1, its output to be read."""
        return subprocess.Popen(["ip", "-n", self.n1, "monitor", "route"], stdout=subprocess.PIPE, text=True)

    def routes(self, *arguments: str) -> list[dict[str, Any]]:
        """Routes of n1's main table (IPv4 unless arguments say otherwise), as `ip -json route` has them, the protocol always."""
        found = json.loads(self.ip("-json", *arguments, "route") or "[]")
        return [{"protocol": "boot", **route} for route in found]  # what it leaves out, unless asked for details

    def ours(self, *arguments: str) -> dict[str, str]:
        """Destination and next hop (or `unreachable`) of the routes of protocol 82."""
        found = [route for route in self.routes(*arguments) if route.get("protocol") == "82"]
        return {route["dst"]: route.get("gateway", route.get("type", "?")) for route in found}

    def _build(self) -> None:
        for name in (self.n1, self.n2):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", self.n1, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.n2)
        for name, addresses in ((self.n1, ("192.0.2.1",)), (self.n2, ("192.0.2.2", "192.0.2.3"))):
            for address in addresses:
                _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "addr", "add", f"2001:db8::{addresses[0][-1]}/64", "dev", "eth0", "nodad")
            _run("ip", "-n", name, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for name in (self.n1, self.n2):
            if Path("/run/netns", name).exists():
                _run("ip", "netns", "del", name)


class Routed:
    """The daemon `routed`, as a process in n1."""

    def __init__(self, lab: Lab, target: str, directory: Path) -> None:
        self._config = directory / "config.toml"
        self._config.write_text(f'[etcd]\nendpoints = ["{target}"]\n[node]\nname = "n1"\n')
        self._log = directory / "log"
        python = [sys.executable, "-W", "error", "-m", "routed.daemon", "--config", str(self._config)]
        self._command = ["nsenter", f"--net=/run/netns/{lab.n1}", *python]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop(signal.SIGKILL)

    def start(self) -> None:
        """Start it; it is not ready yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stderr=log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with this signal; its exit status (nsenter execs it: one process)."""
        if self._process is None:
            raise RuntimeError("routed is not running")
        self._process.send_signal(number)
        status = self._process.wait(timeout=60)
        self._process = None
        return status

    def once(self, *flags: str) -> str:
        """Run it to its end with these flags; what it printed."""
        return _run(*self._command, *flags)

    def synced(self) -> list[dict[str, Any]]:
        """The lines of its finished syncs so far."""
        return [line for line in self.logged() if line["message"] == "routes synced"]

    def forget_log(self) -> None:
        """Begin a new log."""
        self._log.unlink()

    def logged(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]


class Stream:
    """UDP packets from n1 to an address of n2, one each millisecond, counted where they arrive."""

    def __init__(self, lab: Lab, to: str) -> None:
        _run("ip", "-n", lab.n2, "addr", "add", f"{to}/32", "dev", "lo")
        self._sender = inside(lab.n1, _udp_socket)
        self._receiver = inside(lab.n2, _udp_socket)
        self._receiver.bind((to, 9999))
        self._receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: all of them fit, none is lost here
        self._to = to
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self._sender.close()
        self._receiver.close()

    def finish(self) -> int:
        """Stop sending; how many packets did not arrive."""
        self._end.set()
        self._thread.join()
        time.sleep(0.1)
        return self.sent - self._received()

    def _send(self) -> None:
        while not self._end.wait(0.001):
            self.sent += 1
            try:
                self._sender.sendto(b"x", (self._to, 9999))
            except OSError as err:
                self.errors.append(str(err))

    def _received(self) -> int:
        count = 0
        self._receiver.setblocking(False)
        while True:
            try:
                self._receiver.recv(16)
            except BlockingIOError:
                return count
            count += 1


def node(name: str, *addresses: str) -> Put:
    """A node's record."""
    return Put(keys.node(name), store_pb2.Node(name=name, uid=f"uid-{name}", addresses=addresses).SerializeToString())


def block(cidr: str, owner: str) -> Put:
    """A block's record."""
    key = f"{keys.BLOCKS}pods/{cidr.replace('/', '_')}"
    return Put(key, store_pb2.Block(node=owner, node_uid=f"uid-{owner}").SerializeToString())


def no_block(cidr: str) -> Delete:
    """A block given back."""
    return Delete(block(cidr, "").key)


async def write(store: Store, *ops: Op) -> int:
    """Write these, 128 a transaction; the last one's revision."""
    revision = 0
    for start in range(0, len(ops), 128):
        revision = (await store.txn([], ops[start : start + 128])).revision
    return revision


def inside(netns: str, act: Callable[[], T]) -> T:
    """What `act` returns in a thread of its own that has entered the namespace; its sockets stay there."""
    found: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(netns)
            found.append(act())
        except BaseException as err:  # noqa: BLE001 - handed over to the caller's thread
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def run_inside(netns: str, scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine with an event loop of its own inside the namespace."""

    async def awaited() -> T:
        return await scenario()

    return inside(netns, lambda: asyncio.run(awaited()))


def _enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to {netns}")
    finally:
        os.close(descriptor)


def _udp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout
