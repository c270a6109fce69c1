"""Looks for leaks again and again, and repairs those that are certain: seen twice, with the same evidence, some time apart.

    every interval_s: suspects ──→ agents are asked ──→ decide ──→ Sightings ──→ confirmed ──→ Repairs
                         (read before the agents look)               (a first sighting: the next round comes after apart_s)

Nothing is kept but what was seen last, so an ipamd that is started again begins anew; several at once do the same, and the first
transaction wins. Nothing is done while the store recovers from a restore: it does not know what lives.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from ipam.check.decision import Sightings, leak_findings
from ipam.check.finding import Finding
from ipam.check.liveness import Presences
from ipam.check.presences import HeardPresences
from ipam.check.repairs import Outcome, Repairs
from ipam.check.suspects import Suspect, Suspects
from ipam.state import State
from romana import keys
from romana.errors import Ambiguous, Conflict, InvalidInput, Unavailable
from romana.store.api import Store

__all__ = ["Reconciler", "follow"]

log = logging.getLogger(__name__)

AT_ONCE = 16  # repairs under way at a time
ASK_S = 15.0  # longer than agent.recovery_poll_s by default: every agent that lives calls in it


class Reconciler:
    """`clock` is monotonic, in seconds; `apart_s`: how far apart two sightings are at least."""

    def __init__(
        self,
        store: Store,
        state: State,
        presences: HeardPresences,
        repairs: Repairs,
        clock: Callable[[], float],
        apart_s: float,
    ) -> None:
        self._store = store
        self._state = state
        self._presences = presences
        self._repairs = repairs
        self._clock = clock
        self._apart_s = apart_s
        self._sightings = Sightings()

    @property
    def suspects(self) -> bool:
        """Whether something was seen once, and is to be seen again before it counts."""
        return bool(self._sightings.first)

    async def sync(self) -> int:
        """One round; how many leaks were repaired. Right to repeat. Raises Unavailable."""
        if not self._state.whole or await self._store.get(keys.RESTORED) is not None:
            self._sightings = Sightings()
            return 0
        suspects = await Suspects(self._store, self._state, self._presences.boot_id).find()
        nodes = {finding.node for finding in _decided(suspects, {}) if finding.node}
        nodes |= {key.split("/")[1] for one in suspects for key in one.subjects if key.startswith(keys.ATTACHMENTS)}
        presences = await self._presences.ask(nodes, ASK_S)
        self._sightings, confirmed = self._sightings.seen(_decided(suspects, presences), self._clock(), self._apart_s)
        outcomes: list[Outcome | None] = []
        for start in range(0, len(confirmed), AT_ONCE):
            part = confirmed[start : start + AT_ONCE]
            outcomes += await asyncio.gather(*(self._repair(finding, presences) for finding in part))
        return outcomes.count(Outcome.REPAIRED)

    async def _repair(self, finding: Finding, presences: Presences) -> Outcome | None:
        try:
            outcome = await self._repairs.repair(finding, presences)
        except (Unavailable, Conflict, Ambiguous, InvalidInput) as err:
            log.info("leak is left to the next round", extra={"subject": finding.subject, "error": str(err)})
            return None
        if outcome is Outcome.CHANGED:
            fields = {"kind": finding.kind.value, "subject": finding.subject}
            log.info("leak was none any more when it was to be repaired", extra=fields)
        return outcome


def _decided(suspects: Sequence[Suspect], presences: Presences) -> list[Finding]:
    """Of each suspect what is wrong with itself; of what surrounds it not all is known."""
    return [
        finding
        for suspect in suspects
        for finding in leak_findings(suspect.snapshot, presences)
        if finding.subject in suspect.subjects
    ]


async def follow(reconciler: Reconciler, interval_s: float, apart_s: float) -> None:
    """Sync for ever; what fails is tried again. Never, when `interval_s` is 0."""
    while interval_s:
        pause_s = min(interval_s, apart_s) if reconciler.suspects else interval_s
        await asyncio.sleep(pause_s * random.uniform(1.0, 1.2))  # noqa: S311 - spreads load; no secret
        try:
            await reconciler.sync()
        except (Unavailable, Conflict, Ambiguous) as err:
            log.info("leaks are looked for later", extra={"error": str(err)})
    await asyncio.Event().wait()
