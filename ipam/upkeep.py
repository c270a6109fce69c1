"""Looks after nodes in the background: those that a new topology wants elsewhere are placed, and blocks are claimed ahead.

One sync of `romana.reconcile`: the state names the nodes that something changed for, this looks at them and no other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from ipam.claims import Claims
from ipam.state import State
from ipam.topologies import Topologies
from romana.errors import Conflict, Exhausted

__all__ = ["Upkeep"]

log = logging.getLogger(__name__)

AT_ONCE = 64  # claims under way at a time


class Upkeep:
    """`clock` is monotonic, in seconds."""

    def __init__(self, state: State, topologies: Topologies, claims: Claims, clock: Callable[[], float]) -> None:
        self._state = state
        self._topologies = topologies
        self._claims = claims
        self._clock = clock

    async def sync(self) -> Mapping[str, object] | None:
        """Look after the nodes that are due; what fails stays due. Right to repeat."""
        due = self._due()
        placed = 0
        if any(self._waits(name) for name in due):
            placed = await self._topologies.place_pending()
        wanted = [(name, network) for name in due for network in self._networks(name)]
        before = len(self._state.blocks.rows)
        for start in range(0, len(wanted), AT_ONCE):
            await self._claim(wanted[start : start + AT_ONCE])
        for name, since_s in due.items():
            if self._state.uneven.get(name) == since_s:
                del self._state.uneven[name]
        claimed = len(self._state.blocks.rows) - before
        return {"nodes_placed": placed, "blocks_claimed": claimed} if placed or claimed else None

    def _due(self) -> dict[str, float]:
        now_s = self._clock()
        return {name: due_s for name, due_s in self._state.uneven.items() if due_s <= now_s}

    def _waits(self, name: str) -> bool:
        node, topology = self._state.node(name), self._state.in_force()
        return node is not None and topology is not None and not topology.value.has_placed(node.value)

    def _networks(self, name: str) -> Sequence[str]:
        node = self._state.node(name)
        return [placement.network for placement in node.value.placements] if node and not node.value.draining else []

    async def _claim(self, wanted: Sequence[tuple[str, str]]) -> None:
        results = await asyncio.gather(
            *(self._claims.claim_ahead(name, network) for name, network in wanted), return_exceptions=True
        )
        for (name, network), err in zip(wanted, results, strict=True):
            if isinstance(err, Exhausted | Conflict):
                log.warning("no block ahead", extra={"node": name, "network": network, "error": str(err)})
            elif err is not None:
                raise err
