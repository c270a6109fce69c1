"""What `romana bench ipam` measures on: etcd of one or three members and an ipamd, in one folder that goes with them."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from romana.errors import FatalError, Unavailable
from romana.rpc.client import open_channel
from romana.store.etcd import EtcdStore
from romana.v1 import ipam_pb2, node_pb2, store_pb2, topology_pb2
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.topology_pb2_grpc import TopologyStub

if TYPE_CHECKING:
    from romana.v1.ipam_pb2_grpc import IpamAsyncStub
    from romana.v1.topology_pb2_grpc import TopologyAsyncStub

__all__ = ["Ipamd", "attachment", "etcd"]

READY_S = 60.0
TICKS_PER_S = 100  # USER_HZ, man 5 proc


class Ipamd:
    """A running ipamd and a channel to it. `restart` measures how long it takes to be ready."""

    def __init__(self, folder: Path, etcd: Sequence[str]) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        endpoints = ", ".join(f'"{target}"' for target in etcd)
        self.target = f"unix:{folder}/ipamd.sock"
        text = f'[etcd]\nendpoints = [{endpoints}]\n[ipam]\nlisten = ["{self.target}"]\n[log]\nlevel = "WARNING"\n'
        text += '[health]\nipamd = "off"\n'  # nobody asks, and this namespace's ports are not ours
        (folder / "ipamd.toml").write_text(text)
        self.channel = open_channel(self.target)
        self.ipam: IpamAsyncStub = IpamStub(self.channel)
        self.topology: TopologyAsyncStub = TopologyStub(self.channel)

    async def start(self) -> float:
        """Start it; how many seconds until it answers a look-up from what it has read."""
        began = time.monotonic()
        command = [str(Path(sys.executable).parent / "romana-ipamd"), "--config", str(self._folder / "ipamd.toml")]
        with (self._folder / "ipamd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220 - nothing else runs yet
        while time.monotonic() < began + READY_S:
            try:
                await self.ipam.Lookup(ipam_pb2.LookupRequest(ip="192.0.2.1"), timeout=1.0)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
                continue
            return time.monotonic() - began
        raise FatalError(f"ipamd did not get ready: {(self._folder / 'ipamd.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        line = next(line for line in self._proc("status").splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    async def lay_out(self, nodes: int) -> None:
        """Apply a topology of one group with room for all, and add the nodes."""
        document = (
            b'{"networks": [{"name": "pods", "cidr": "10.0.0.0/8", "block_mask": 27}],'
            b' "topologies": [{"networks": ["pods"], "map": [{"name": "all", "groups": []}]}]}'
        )
        await self.topology.Apply(topology_pb2.ApplyRequest(document=document), timeout=READY_S)
        for number in range(nodes):
            address = f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"
            await self.topology.AddNode(node_pb2.AddNodeRequest(name=f"n{number}", addresses=[address]), timeout=READY_S)

    def _proc(self, what: str) -> str:
        if self._process is None:
            raise FatalError("ipamd does not run")
        return Path(f"/proc/{self._process.pid}/{what}").read_text()


def attachment(node: int, container: str) -> store_pb2.AttachmentKey:
    """The CNI key of a container's eth0."""
    return store_pb2.AttachmentKey(node=f"n{node}", conf="bench", container_id=container, ifname="eth0")


@asynccontextmanager
async def etcd(members: int) -> AsyncIterator[tuple[Path, list[str], EtcdStore]]:
    """etcd of so many members: the folder, their gRPC targets, and a store on them; ended and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="romana-bench-"))
    names = [f"m{number}" for number in range(members)]
    cluster = ",".join(f"{name}=unix://p{name}:0" for name in names)
    processes: list[subprocess.Popen[bytes]] = []
    targets = [f"unix:{folder}/c{name}:0" for name in names]
    store = EtcdStore(targets, timeout_s=30.0)
    try:
        for name in names:
            client, peer = f"unix://c{name}:0", f"unix://p{name}:0"
            command = ["etcd", f"--name={name}", f"--data-dir={name}", f"--listen-client-urls={client}"]
            command += [f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
            command += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster={cluster}", "--log-level=error"]
            with (folder / f"{name}.log").open("ab") as log:
                processes.append(subprocess.Popen([*command, "--logger=zap"], cwd=folder, stdout=log, stderr=log))  # noqa: ASYNC220
        await _answers(store)
        yield folder, targets, store
    finally:
        await store.close()
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _answers(store: EtcdStore) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            await store.get("ready")
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return
