"""Calls to an agent without a shim: the protocol of cni/agent_wire.py, spoken by the test itself, fast and with full control."""

import asyncio
import json
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from tests.fakes.cni_node import Node, netns_path

__all__ = ["Answer", "Caller"]


@dataclass(frozen=True)
class Answer:
    """Exit status, and what would go to standard output."""

    status: int
    json: dict[str, Any]


class Caller:
    """A runtime of one node; `started_ns` may lie in the past, as for a shim that was held up."""

    def __init__(self, node: Node) -> None:
        self._path = str(node.folder / "agent.sock")

    async def call(self, command: str, pod: str, *, cid: str = "", ifname: str = "eth0", started_ns: int = 0) -> Answer:
        """One call; raises ConnectionError when the agent goes before it answers."""
        connection = await self.send(command, pod, cid=cid, ifname=ifname, started_ns=started_ns)
        with connection:
            loop = asyncio.get_running_loop()
            blob = b""
            while len(blob) < 5 or len(blob) < 5 + struct.unpack(">I", blob[1:5])[0]:
                part = await loop.sock_recv(connection, 1 << 16)
                if not part:
                    raise ConnectionError("the agent is gone")
                blob += part
        return Answer(blob[0], json.loads(blob[5:] or b"{}"))

    async def send(self, command: str, pod: str, *, cid: str = "", ifname: str = "eth0", started_ns: int = 0) -> socket.socket:
        """A connection with the request in it; closing it is what a killed shim does."""
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": cid or pod,
            "CNI_NETNS": netns_path(pod),
            "CNI_IFNAME": ifname,
            "ROMANA_STARTED_NS": str(started_ns or time.monotonic_ns()),
        }
        block = "\0".join(f"{name}={value}" for name, value in environ.items()).encode()
        stdin = json.dumps({"cniVersion": "1.0.0", "name": "romana", "type": "romana"}).encode()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self._path)
            netns = os.open(netns_path(pod), os.O_RDONLY | os.O_CLOEXEC)
            try:
                socket.send_fds(connection, [b"ROM1" + struct.pack(">II", len(block), len(stdin)) + block + stdin], [netns])
            finally:
                os.close(netns)
        except BaseException:
            connection.close()
            raise
        return connection
