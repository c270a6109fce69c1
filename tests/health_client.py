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
import http.client, json, sys
port, found = int(sys.argv[1]), {}
for path in sys.argv[2:]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    found[path] = [answer.status, answer.read().decode()]
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


def ask_in(netns: str, port: int, *pages: str) -> dict[str, Told]:
    """The answers at loopback of a network namespace (its path)."""
    command = ["nsenter", f"--net={netns}", sys.executable, "-c", _ASK, str(port), *pages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return {page: Told(status, body) for page, (status, body) in json.loads(done.stdout).items()}


def values(page: str, name: str, **labels: str) -> list[float]:
    """Values of a metric's samples on a page, of those whose labels have these values."""
    families = text_string_to_metric_families(page)
    found = (sample for family in families for sample in family.samples if sample.name == name)
    return [sample.value for sample in found if labels.items() <= sample.labels.items()]


def lines(body: str, start: str) -> Sequence[str]:
    """Lines of `/readyz` that begin so."""
    return [line for line in body.splitlines() if line.startswith(start)]
