"""The page `/metrics`: all sources of one daemon, written by prometheus_client, without holding the loop.

One page is written at a time; who asks meanwhile gets the same. Between two pieces other tasks run, so a page of a cluster of
5,000 nodes costs its processor time and delays nobody by more than some milliseconds.
"""

import asyncio
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from romana.health.families import Source
from romana.health.request import Answer

__all__ = ["Exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text format that every scraper reads (Prometheus, "Exposition formats"); our names need nothing newer."""


class _Piece(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """The one family."""
        return (self._family,)


class Exposition:
    """The metrics of one daemon of that name and version. Nothing is global: several fit into a process."""

    def __init__(self, daemon: str, version: str, sources: Sequence[Source]) -> None:
        registry = CollectorRegistry(auto_describe=False)
        process = ProcessCollector(registry=registry)
        self._sources: list[Source] = [lambda: (_build(daemon, version),), process.collect, *sources]
        self._writing: asyncio.Task[bytes] | None = None

    def add(self, source: Source) -> None:
        """Show this too, from the next page on."""
        self._sources.append(source)

    async def page(self) -> Answer:
        """The page as it is now."""
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="metrics")
        return Answer(200, await asyncio.shield(self._writing), CONTENT_TYPE)

    async def _write(self) -> bytes:
        pieces: list[bytes] = []
        last = ""
        try:
            for source in tuple(self._sources):
                for family in source():
                    if family is not None:
                        piece = generate_latest(_Piece(family))
                        pieces.append(_without_head(piece) if family.name == last else piece)
                        last = family.name
                    await asyncio.sleep(0)
        finally:
            self._writing = None
        return b"".join(pieces)


def _build(daemon: str, version: str) -> Metric:
    return InfoMetricFamily("romana_build", "Which daemon this is, and of which version", {"daemon": daemon, "version": version})


def _without_head(piece: bytes) -> bytes:
    """The samples alone: HELP and TYPE may stand only once for a name (Prometheus, "Exposition formats")."""
    return b"".join(line for line in piece.splitlines(keepends=True) if not line.startswith(b"# "))
