"""A proxy between a client and a real etcd that cuts the connection at a chosen piece of what the client sends.

client ──→ proxy ──→ etcd          before: cut, etcd never gets it
       ←──       ←──               after:  etcd gets it, its answer is thrown away, cut
                                   late:   the client is cut off first, etcd gets it afterwards
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

__all__ = ["Cut", "CuttingProxy"]

Cut = str
"""`before`, `after`, `late`, or nothing."""

ANSWER_S = 0.05  # for etcd to have done it, before the connection ends
PIECE_BYTES = 1 << 16


class CuttingProxy:
    """`decide` is asked for every piece that the client sends, while it is set; `cuts` counts what it did."""

    def __init__(self, etcd: Path, listen: Path) -> None:
        self._etcd = etcd
        self._listen = listen
        self.decide: Callable[[bytes], Cut] | None = None
        self.cuts = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self._listen}"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["CuttingProxy"]:
        """Take connections."""
        server = await asyncio.start_unix_server(self._accept, str(self._listen))
        try:
            yield self
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await server.wait_closed()
            self._listen.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(str(self._etcd))
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(_pump(there, writer))
        try:
            with contextlib.suppress(OSError):
                await self._requests(reader, back, answers, writer)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
        client: asyncio.StreamWriter,
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            cut = self.decide(piece) if self.decide else ""
            if cut:
                self.cuts += 1
                answers.cancel()
                if cut == "late":
                    client.transport.abort()
                if cut != "before":
                    back.write(piece)
                    await back.drain()
                    await asyncio.sleep(ANSWER_S)
                return
            back.write(piece)
            await back.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
