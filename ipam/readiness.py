"""What must be so for ipamd to serve: told by `/readyz` and by gRPC's health service alike."""

from collections.abc import Sequence

from ipam.recovery import Recovery
from ipam.state import State
from romana.health.conditions import Condition, failed, met, note
from romana.health.evidence import Evidence
from romana.health.store_metrics import Watches

__all__ = ["Readiness"]

NAMED_MAX = 5


class Readiness:
    """Asks etcd, as seldom as its evidence allows, and looks at what is known."""

    def __init__(self, etcd: Evidence, watches: Watches, state: State, recovery: Recovery) -> None:
        self._etcd = etcd
        self._watches = watches
        self._state = state
        self._recovery = recovery

    async def conditions(self) -> Sequence[Condition]:
        """All of them, now.

        A recovery is told and does not count: agents have to reach ipamd to end it.
        """
        etcd = await self._etcd.condition()
        unread, history = self._state.unread, self._recovery.history
        cache = failed("cache", f"not read yet: {', '.join(unread)}") if unread else met("cache", self._told())
        adopted = met("history", history) if history else failed("history", "the store's history is not adopted yet")
        recovering = [note("recovery", self._waits())] if self._recovery.under_way else []
        return etcd, self._watches.condition(), cache, adopted, *recovering

    def _told(self) -> str:
        state = self._state
        return f"{len(state.nodes.rows)} nodes, {len(state.blocks.rows)} blocks, {len(state.addresses.rows)} addresses"

    def _waits(self) -> str:
        waiting = self._recovery.waits_for
        more = f" and {len(waiting) - NAMED_MAX} more" if len(waiting) > NAMED_MAX else ""
        names = ", ".join(waiting[:NAMED_MAX]) or "its end"
        return f"no address is given out; waits for {names}{more} (romana ipam recovery)"
