"""Asks a daemon's health: over a unix socket from here, or over loopback of a network namespace by a process in it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Told", "ask", "ask_in", "lines", "talk", "values"]

PATIENCE_S = 60.0

_ASK = """
import json, socket, sys
asked, found = [], []
for text in sys.argv[1:]:
    port, page = text.split(":")
    asked.append(socket.create_connection(("127.0.0.1", int(port)), 60))
    asked[-1].sendall(f"GET {page} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
for connection in asked:
    answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.decode().partition("\\r\\n\\r\\n")
    found.append([int(head.split()[1]), body, head])
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    body: str
    head: str = ""


async def talk(path: str, sent: bytes, *, end: bool = False) -> bytes:
    """Everything that comes back for these bytes; `end`: and nothing more is sent."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(sent)
            if end:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()


async def ask(path: str, page: str, method: str = "GET") -> Told:
    """The answer at a unix socket."""
    head, _, body = (await talk(path, f"{method} {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).partition(b"\r\n\r\n")
    return Told(int(head.split()[1]), body.decode(), head.decode())


def ask_in(netns: str, *wanted: tuple[int, str]) -> list[Told]:
    """The answers at ports and pages on loopback of a network namespace (its path)."""
    command = ["nsenter", f"--net={netns}", sys.executable, "-I", "-S", "-c", _ASK, *(f"{port}:{page}" for port, page in wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [Told(*told) for told in json.loads(done.stdout)]


def values(page: str, name: str, **labels: str) -> list[float]:
    """Values of a metric's samples on a page, of those whose labels have these values."""
    families = text_string_to_metric_families(page)
    found = (sample for family in families for sample in family.samples if sample.name == name)
    return [sample.value for sample in found if labels.items() <= sample.labels.items()]


def lines(body: str, start: str) -> Sequence[str]:
    """Lines of `/readyz` that begin so."""
    return [line for line in body.splitlines() if line.startswith(start)]
