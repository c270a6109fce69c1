"""Looks at which groups are full, logs what changes, and tells whoever watches.

    look (with each round of `ipam.upkeep`) ──→ full_now ──changed?──→ log, `follow`

This is where another process gets to know: `Topology.WatchFull` streams it (romana-kube turns it into a condition of nodes). It
is computed from what this ipamd has heard and kept nowhere, so every ipamd tells the same, and a restart tells it anew.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from ipam.fullness import FullGroup, Need
from ipam.standing import full_now
from ipam.state import State

__all__ = ["FullWatch"]

log = logging.getLogger(__name__)

NAMED_MAX = 10  # owners in a line of the log

_Group = tuple[str, str]
_Told = tuple[bool, frozenset[str]]
"""Whether it is urgent, and who is out of addresses: what a line of the log is about."""


class FullWatch:
    """`clock` is monotonic, in seconds."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._full: tuple[FullGroup, ...] = ()
        self._told: dict[_Group, _Told] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def look(self) -> None:
        """Take what is full now. O(groups)."""
        full = full_now(self._state, self._clock())
        if full == self._full:
            return
        self._full = full
        self._log({(group.network, group.path): group for group in full})
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End what follows: this ipamd stops, and whoever watches goes on at another."""
        self._closed = True
        self._changed.set()

    async def follow(self) -> AsyncIterator[tuple[FullGroup, ...]]:
        """What is full, and again whenever that has changed, until `close`. Raises Unavailable before the store was read."""
        self._state.require_whole()
        self.look()
        while not self._closed:
            changed = self._changed
            yield self._full
            await changed.wait()

    def _log(self, full: dict[_Group, FullGroup]) -> None:
        told = {key: _told(group) for key, group in full.items()}
        for key, group in full.items():
            if told[key] == self._told.get(key):
                continue
            fields = {"network": group.network, "group": group.path, "prefix": str(group.cidr), "blocks": group.blocks}
            if group.urgent:
                short = [str(owner) for owner in group.owners if owner.need is not Need.NEAR]
                more = {"short": short[:NAMED_MAX], "short_count": len(short), "help": list(group.help)}
                log.warning("group is full, and nodes are short of addresses", extra={**fields, **more})
            else:
                log.info("group is full", extra=fields)
        for network, path in self._told.keys() - told.keys():
            log.info("group is not full any more", extra={"network": network, "group": path})
        self._told = told


def _told(group: FullGroup) -> _Told:
    return group.urgent, frozenset(str(owner) for owner in group.owners if owner.need is Need.OUT)
