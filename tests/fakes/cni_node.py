"""A node: a network namespace with the real agent in it, the real shim, and an ipamd in memory."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.agent_journal import Remembered, replay
from cni.install import install
from cni.request import AttachmentId
from romana.netlink import netns
from tests.fakes.ipamd import FakeIpamd

ROOT = Path(__file__).resolve().parent.parent.parent
NODE_ADDRESS = "198.18.0.2"  # RFC 2544: addresses for benchmarks, nobody's
UPLINK_MTU = 1400

_numbers = itertools.count()


def ip(*arguments: str) -> str:
    """Output of iproute2; raises CalledProcessError."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def unique(kind: str) -> str:
    """A name for a namespace that no other test has."""
    return f"t{os.getpid()}-{kind}{next(_numbers)}"


@contextlib.contextmanager
def namespace(kind: str) -> Iterator[str]:
    """A network namespace, removed afterwards if it is still there."""
    name = unique(kind)
    ip("netns", "add", name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def netns_path(name: str) -> str:
    """Where iproute2 keeps it."""
    return f"/run/netns/{name}"


@contextlib.contextmanager
def opened(name: str) -> Iterator[int]:
    """A descriptor of a namespace."""
    fd = os.open(netns_path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Ran:
    """What a run of the shim gave."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def json(self) -> dict[str, Any]:
        """Its output."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


class Node:
    """The namespace `name`, and everything that runs for it."""

    def __init__(self, name: str, folder: Path, ipamd: FakeIpamd) -> None:
        self.name = name
        self.folder = folder
        self.ipamd = ipamd
        self.log = folder / "agent.log"
        self.agent: asyncio.subprocess.Process | None = None
        self.settings: dict[str, float | str] = {"ipam_timeout_s": 2.0, "pod_wait_s": 1.0, "recovery_poll_s": 0.5}
        self.policy: dict[str, float | str | bool] = {"required": False}

    @property
    def pending(self) -> list[Path]:
        """Releases that wait."""
        return list((self.folder / "state" / "pending").glob("*.json"))

    @property
    def intents(self) -> list[AttachmentId]:
        """ADDs that are not settled."""
        return list(self._remembered().intended)

    @property
    def records(self) -> dict[AttachmentId, Mapping[str, Any]]:
        """Attachments whose routes are kept."""
        return self._remembered().finished

    @property
    def owed(self) -> list[AttachmentId]:
        """Deleted, and their releases not taken."""
        return list(self._remembered().owed)

    def note(self, op: str, key: AttachmentId, document: Mapping[str, Any] | None = None) -> None:
        """Append a line to the journal of an agent that does not run."""
        with (self.folder / "state" / "journal").open("a") as journal:
            journal.write(json.dumps([op, key.conf, key.container_id, key.ifname, document or {}]) + "\n")

    async def start_agent(self) -> None:
        """The agent, in the node's namespace; returns when it listens."""
        settings, policy = (
            "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
            for section in (self.settings, self.policy)
        )
        config = self.folder / "config.toml"
        config.write_text(
            f'[node]\nname = "{self.ipamd.node}"\n[policy]\n{policy}\n'
            f'[ipam]\nendpoints = ["unix:{self.folder}/ipamd.sock"]\n'
            f'[agent]\nsocket = "{self.folder}/agent.sock"\nstate_dir = "{self.folder}/state"\n{settings}\n'
        )
        install(self.folder / "bin", self.folder / "conf", f"{self.folder}/agent.sock")
        with self.log.open("ab") as log:
            self.agent = await asyncio.create_subprocess_exec(
                "nsenter", f"--net={netns_path(self.name)}", sys.executable, "-c", "from cni.daemon import main; main()",
                "--config", str(config), cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        await until(lambda: self._listens() or self._died(), 60)

    async def kill_agent(self) -> None:
        """SIGKILL; the socket stays behind, dead."""
        assert self.agent
        self.agent.kill()
        await self.agent.wait()
        self.agent = None

    async def stop_agent(self) -> int:
        """SIGTERM; its exit status."""
        assert self.agent
        self.agent.terminate()
        status = await asyncio.wait_for(self.agent.wait(), 60)
        self.agent = None
        return status

    async def start_ipamd(self) -> None:
        """Serve the in-memory ipamd."""
        await self.ipamd.listen(f"unix:{self.folder}/ipamd.sock")

    async def spawn(self, command: str, netns: str, *, cid: str, ifname: str = "eth0", conf: dict[str, Any] | None = None,
                    **environ: str) -> asyncio.subprocess.Process:  # fmt: skip
        """A running shim that has its standard input."""
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": cid, "CNI_NETNS": netns, "CNI_IFNAME": ifname, "CNI_PATH": "/nowhere"}
        process = await asyncio.create_subprocess_exec(
            str(self.folder / "bin" / "romana"), env=env | environ,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(json.dumps({"cniVersion": "1.0.0", "name": "romana", "type": "romana"} | (conf or {})).encode())
        process.stdin.close()
        return process

    async def cni(self, command: str, pod: str, *, cid: str = "", conf: dict[str, Any] | None = None, ifname: str = "eth0",
                  netns: str | None = None, **environ: str) -> Ran:  # fmt: skip
        """Run the shim for a pod's namespace; the container's id is the namespace's name unless given."""
        path = netns_path(pod) if netns is None else netns
        return await ran(await self.spawn(command, path, cid=cid or pod, conf=conf, ifname=ifname, **environ))

    def interfaces(self) -> list[str]:
        """Host ends on the node."""
        return [link["ifname"] for link in json.loads(ip("-n", self.name, "-j", "link")) if link["ifname"].startswith("rom")]

    def routes(self) -> list[str]:
        """Destinations of the agent's routes on the node."""
        return [route["dst"] for route in json.loads(ip("-n", self.name, "-j", "route", "show", "proto", "83"))]

    def is_clean(self) -> bool:
        """True when no attachment has left anything."""
        kept = self.pending or self.intents or self.records or self.owed
        return not (self.interfaces() or self.routes() or self.ipamd.held or kept)

    async def cleaned(self) -> None:
        """Wait for that: a DEL is answered before ipamd has heard of it."""
        await until(self.is_clean, 60)

    def _remembered(self) -> Remembered:
        return replay((self.folder / "state" / "journal").read_text().splitlines())

    def _listens(self) -> bool:
        """A dead agent leaves its socket behind: only who accepts is alive."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(f"{self.folder}/agent.sock") == 0

    def _died(self) -> bool:
        assert self.agent
        assert self.agent.returncode is None, self.log.read_text()
        return False


def _toml(section: Mapping[str, object]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())


async def ran(process: asyncio.subprocess.Process) -> Ran:
    """The outcome of a shim."""
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Ran(process.returncode, stdout, stderr)


@contextlib.asynccontextmanager
async def a_node(folder: Path) -> AsyncIterator[Node]:
    """A node that serves, with an uplink; everything is removed afterwards."""
    with namespace("node") as name:
        ip("-n", name, "link", "add", "up0", "mtu", str(UPLINK_MTU), "type", "veth", "peer", "name", "fabric0")
        for interface in ("lo", "up0", "fabric0"):
            ip("-n", name, "link", "set", interface, "up")
        ip("-n", name, "address", "add", f"{NODE_ADDRESS}/24", "dev", "up0")
        node = Node(name, folder, FakeIpamd(addresses=(NODE_ADDRESS,)))
        try:
            await node.start_ipamd()
            await node.start_agent()
            yield node
        finally:
            if node.agent:
                await node.stop_agent()
            await node.ipamd.stop()


async def until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for happens in the kernel and in other processes
            await asyncio.sleep(0.02)


async def pings(name: str, target: str, source: str = "", timeout_s: float = 30.0) -> bool:
    """True when one echo request from a namespace is answered: the first and only packet (RFC 792)."""
    return await asyncio.to_thread(_ping, name, target, source, timeout_s)


def _ping(name: str, target: str, source: str, timeout_s: float) -> bool:
    with opened(name) as fd:
        raw = netns.call_in(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    fields = (8, 0, 0, os.getpid() & 0xFFFF, 1)  # echo request, code, checksum, identifier, sequence
    checksum = 0xFFFF - sum(struct.unpack("!4H", struct.pack("!BBHHH", *fields))) % 0xFFFF
    body = struct.pack("!BBHHH", *fields[:2], checksum, *fields[3:])
    with raw:
        raw.settimeout(timeout_s)
        if source:
            raw.bind((source, 0))
        try:
            raw.sendto(body, (target, 0))
            while True:
                packet, (sender, _) = raw.recvfrom(2048)
                if sender == target and packet[20] == 0:
                    return True
        except OSError:
            return False
