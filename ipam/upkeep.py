"""Looks after nodes in the background: those that a new topology wants elsewhere are placed, and blocks are claimed ahead.

One sync of `romana.reconcile`: the state names the nodes that something changed for, this looks at them and no other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from ipam.claims import Claims
from ipam.full_watch import FullWatch
from ipam.journal import Journal
from ipam.moving import Moving
from ipam.node_life import NodeLife
from ipam.spares import Spares
from ipam.state import State
from ipam.topologies import Topologies
from romana.errors import Conflict, Exhausted

__all__ = ["Upkeep"]

log = logging.getLogger(__name__)

BLOCKS_S = 5.0  # how often blocks are looked for that nobody needs
FULL_S = 1.0  # how often it is looked which groups are full
JOURNAL_S = 60.0  # how often the journal is looked at
AT_ONCE = 64  # claims under way at a time


class Upkeep:
    """See the module's docstring."""

    def __init__(
        self,
        state: State,
        topologies: Topologies,
        claims: Claims,
        life: NodeLife,
        spares: Spares,
        moving: Moving,
        full: FullWatch,
        journal: Journal,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._life = life
        self._clock = clock
        self._spares = spares
        self._moving = moving
        self._full = full
        self._full_from_s = 0.0
        self._blocks_from_s = 0.0
        self._journal = journal
        self._journal_from_s = 0.0
        self._state = state
        self._topologies = topologies
        self._claims = claims

    async def sync(self) -> Mapping[str, object] | None:
        """Look after the nodes that are due; what fails stays due. Right to repeat."""
        due = self._state.due()
        placed = 0
        if any(self._waits(name) for name in due):
            placed = await self._topologies.place_pending()
        wanted = [(name, network) for name in due for network in self._networks(name)]
        before = len(self._state.blocks.rows)
        for start in range(0, len(wanted), AT_ONCE):
            await self._claim(wanted[start : start + AT_ONCE])
        for name, looked_at in due.items():
            self._state.settle(name, looked_at)
        claimed = len(self._state.blocks.rows) - before
        given = await self._given_back()
        self._look()
        pruned = await self._pruned()
        told = {"nodes_placed": placed, "blocks_claimed": claimed, "blocks_given_back": given, "journal_pruned": pruned}
        return told if any(told.values()) else None

    async def _pruned(self) -> int:
        """Let go of what the journal keeps no longer; now and then, and with the next sync while there is more."""
        now_s = self._clock()
        if now_s < self._journal_from_s:
            return 0
        gone, more = await self._journal.prune()
        self._journal_from_s = now_s if more else now_s + JOURNAL_S
        return gone

    def _look(self) -> None:
        """Look which groups are full; now and then, as it costs a little for each group."""
        if self._clock() >= self._full_from_s:
            self._full_from_s = self._clock() + FULL_S
            self._full.look()

    async def _given_back(self) -> int:
        """Give back what nodes that are gone have left and what nodes do not need, and move nodes that have nothing left.

        Now and then, as all that waits for cool-downs.
        """
        now_s = self._clock()
        if now_s < self._blocks_from_s:
            return 0
        self._blocks_from_s = now_s + BLOCKS_S
        given = await self._life.give_back_orphans() + await self._spares.give_back()
        await self._moving.move_drained()
        return given

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
