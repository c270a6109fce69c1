"""The agent's unix socket: requests and descriptors in, answers out. The bytes: cni/agent_wire.py."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cni.agent_locks import Abort
from cni.agent_wire import HEADER_BYTES, encode_answer, parse_environment, parse_header
from romana.errors import ConfigError, Fault, InvalidInput, Unavailable

__all__ = ["AgentServer"]

log = logging.getLogger(__name__)

Answer = Callable[[Mapping[str, str], bytes, int | None, Abort], Awaitable[tuple[int, bytes]]]

BACKLOG = 512
"""More than the 100 calls at once that a node is designed for."""
RECEIVE_S = 30.0
"""A request is written in one go; a caller that dawdles is not a shim."""
ACCEPT_PAUSE_S = 0.05
DESCRIPTORS_MAX = 4
CHUNK_BYTES = 1 << 16


@dataclass(slots=True)
class _Received:
    environ: Mapping[str, str]
    stdin: bytes


class AgentServer:
    """Accepts until `stop`, which waits for the calls that run."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._calls: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None

    async def start(self) -> None:
        """Listen, for root only. A dead agent's socket is replaced; a living one's is a ConfigError."""
        _make_folder(self._path)
        _remove_dead_socket(self._path)
        self._listener = _listen(self._path)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def stop(self) -> None:
        """Take no more calls, remove the socket, wait for those that run.

        In this order: as long as we listen nobody else puts a socket there, and what stands there later is the next agent's.
        """
        if self._listener is None or self._accepting is None:
            return
        self._accepting.cancel()
        await asyncio.wait({self._accepting})
        self._path.unlink(missing_ok=True)
        self._listener.close()
        if self._calls:
            await asyncio.wait(self._calls)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as err:  # no descriptor left (EMFILE), or the caller is gone already (ECONNABORTED): man 2 accept
                log.warning("cannot accept a call", extra={"error": str(err)})
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            task = asyncio.create_task(self._serve(connection))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _serve(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            async with asyncio.timeout(RECEIVE_S):
                received = await _receive(connection, descriptors)
            status, stdout = await self._answered(connection, received, descriptors)
            await asyncio.get_running_loop().sock_sendall(connection, encode_answer(status, stdout))
        except (OSError, InvalidInput, Unavailable) as err:  # TimeoutError too: the caller is gone, or is no shim
            log.info("caller went away", extra={"error": str(err)})
        finally:
            for descriptor in descriptors:  # or the pod's namespace would never die
                os.close(descriptor)
            connection.close()

    async def _answered(self, connection: socket.socket, received: _Received, descriptors: list[int]) -> tuple[int, bytes]:
        loop, abort = asyncio.get_running_loop(), Abort()

        def hang_up() -> None:
            """The shim was killed: it sends nothing more, so whatever can be read is the end."""
            loop.remove_reader(connection)
            abort.set("its caller went away")

        loop.add_reader(connection, hang_up)
        try:
            return await self._answer(received.environ, received.stdin, descriptors[0] if descriptors else None, abort)
        finally:
            loop.remove_reader(connection)


async def _receive(connection: socket.socket, descriptors: list[int]) -> _Received:
    """One request; the descriptors that came with its first byte are appended to `descriptors`, which the caller closes."""
    first = await _receive_first(connection, descriptors)
    blob = await _receive_up_to(connection, first, HEADER_BYTES)
    environment, stdin = parse_header(blob[:HEADER_BYTES])
    end = HEADER_BYTES + environment
    blob = await _receive_up_to(connection, blob, end + stdin)
    return _Received(parse_environment(blob[HEADER_BYTES:end]), blob[end : end + stdin])


async def _receive_first(connection: socket.socket, descriptors: list[int]) -> bytes:
    while True:
        try:
            data, found, _, _ = socket.recv_fds(connection, CHUNK_BYTES, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(connection)
            continue
        descriptors.extend(found)
        return data


async def _receive_up_to(connection: socket.socket, already: bytes, size: int) -> bytes:
    blob = bytearray(already)
    while len(blob) < size:
        part = await asyncio.get_running_loop().sock_recv(connection, min(size - len(blob), CHUNK_BYTES))
        if not part:
            raise Unavailable("the caller closed the connection before its request was complete")
        blob += part
    return bytes(blob)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        fault = Fault("agent.socket", f"is {str(path)!r}, and {path.parent} cannot be made: {err.strerror}")
        raise ConfigError("the agent cannot work as configured:", [fault]) from err


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as err:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {err}; set agent.socket to a short path in a folder that is ours") from err
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _remove_dead_socket(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"another agent serves {path}; stop it, or set agent.socket")
