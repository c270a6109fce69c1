"""Serves `/livez`, `/readyz` and `/metrics` from the daemon's own event loop: that it answers is what `/livez` says.

    accept ──→ head, at most HEAD_MAX bytes within HEAD_S ──→ answer ──→ write within WRITE_S ──→ close, for every request

A caller that dawdles costs a connection and nothing else: at CONNECTIONS_MAX the one that has dawdled longest makes way for the
next. No thread, no body, no connection that stays (`romana.health.request`).

A daemon's work does not hang on this: when the address is taken it says which key to change, goes on, and tries again every
RETRY_S. A node must not lose its routes because a port is in use.
"""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from romana.health.address import HealthAddress
from romana.health.request import HEAD_MAX, Answer, BadRequest, Request, head_end, parse_request

__all__ = ["CONNECTIONS_MAX", "HealthServer", "Page"]

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
HEAD_S = 5.0
WRITE_S = 10.0
LINGER_S = 1.0
"""How long what a caller still sends is read away: closing over it sends RST, which may overtake the answer (RFC 9112, 9.6)."""
LINGER_MAX = 1 << 20
RETRY_S = 5.0
BACKLOG = 128

Page = Callable[[], Awaitable[Answer]]


class HealthServer:
    """Serves `pages` (path -> what answers it) at an address; `key` is the configuration's key that says which."""

    def __init__(self, address: HealthAddress, pages: Mapping[str, Page], key: str) -> None:
        self._address = address
        self._pages = pages
        self._key = key
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Connections, the oldest first."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve as long as the block runs."""
        listening = asyncio.create_task(self._listen(), name="health")
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            for task in tuple(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _listen(self) -> None:
        said = ""
        while True:
            try:
                server = await self._bind()
            except OSError as err:
                if str(err) != said:
                    said = str(err)
                    way_out = f"health, readiness and metrics are not told; change {self._key}, or end what listens there"
                    log.error(  # noqa: TRY400 - the message says it
                        "cannot listen for health", extra={"address": self._address.text, "error": said, "way_out": way_out}
                    )
                await asyncio.sleep(RETRY_S)
                continue
            log.info("health is told", extra={"address": self._address.text})
            try:
                async with server:
                    await server.serve_forever()
            finally:
                self._remove_socket()

    def _remove_socket(self) -> None:
        if self._address.path:
            Path(self._address.path).unlink(missing_ok=True)

    async def _bind(self) -> asyncio.Server:
        if not self._address.path:
            return await asyncio.start_server(
                self._accepted, self._address.host, self._address.port, limit=HEAD_MAX, backlog=BACKLOG
            )
        listener = _unix_listener(Path(self._address.path))
        return await asyncio.start_unix_server(self._accepted, sock=listener, limit=HEAD_MAX)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is always served by a task")  # asyncio.start_server makes one for each
        if len(self._open) >= CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            self._open.pop(oldest).transport.abort()
            oldest.cancel()
        self._open[task] = writer
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()  # gone, too slow, in the way of others, or we end: nobody waits for an answer
        finally:
            self._open.pop(task, None)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            request = parse_request(await _head(reader))
            method = request.method
            answer = await self._answer(request)
        except BadRequest as err:
            answer = Answer.text(err.status, str(err))
        except EOFError:
            return
        writer.write(answer.head() + (b"" if method == "HEAD" else answer.body))
        async with asyncio.timeout(WRITE_S):
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await _read_away(reader)

    async def _answer(self, request: Request) -> Answer:
        page = self._pages.get(request.path)
        if page is None:
            return Answer.text(404, f"there is {', '.join(self._pages)}")
        if request.method not in {"GET", "HEAD"}:
            return Answer(405, b"GET and HEAD are answered here\n", allow="GET, HEAD")
        try:
            return await page()
        except Exception:
            # The edge: a bug in what is told must neither end the daemon nor pass for an answer.
            log.exception("health could not be told by a bug", extra={"path": request.path})
            return Answer.text(500, "a bug of the daemon, written to its log")


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The head of a request; raises BadRequest, and EOFError for a caller that leaves before it."""
    received = b""
    try:
        async with asyncio.timeout(HEAD_S):
            while not (end := head_end(received)):
                if len(received) >= HEAD_MAX:
                    raise BadRequest(431, f"the head of the request has more than {HEAD_MAX} bytes")
                part = await reader.read(HEAD_MAX)
                if not part:
                    raise EOFError
                received += part
    except TimeoutError:
        raise BadRequest(408, f"the request was not complete within {HEAD_S:.0f} s") from None
    if end > HEAD_MAX:
        raise BadRequest(431, f"the head of the request has more than {HEAD_MAX} bytes")
    return received[:end]


async def _read_away(reader: asyncio.StreamReader) -> None:
    left = LINGER_MAX
    while left > 0 and (part := await reader.read(HEAD_MAX)):
        left -= len(part)


def _unix_listener(path: Path) -> socket.socket:
    """A socket for root only; one left by a dead daemon is replaced, a living one's raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            with suppress(ConnectionRefusedError):
                probe.connect(str(path))
                raise OSError(f"a living daemon answers at {path}")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener
