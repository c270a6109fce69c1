"""Carries out one repair: reads the evidence anew at one revision, decides anew, and writes if both are as they were.

    finding ──→ read its keys ──→ decide: the same finding? ──→ transaction that compares them all ──→ repaired
                    ▲                      │ no: changed                │ conflict: changed
                    └──────────────────────┴── answer lost: look again ─┘

So whoever asks for it (the reconciler, a person's command) is believed in nothing that the store can tell; and a repair that came
although its answer was lost shows as a finding that is there no more.
"""

import logging
from collections.abc import Callable
from enum import Enum

from ipam.check.decision import leak_findings
from ipam.check.finding import Finding
from ipam.check.liveness import Presences
from ipam.check.reading import snapshot_of
from ipam.check.snapshot import Snapshot
from ipam.check.transactions import repair
from ipam.commit import Committer
from romana import keys
from romana.errors import Ambiguous, InvalidInput
from romana.store.api import Get, KeyValue, Store

__all__ = ["Outcome", "Repairs", "around"]

log = logging.getLogger(__name__)

ATTEMPTS = 5  # of a write whose answer is lost


class Outcome(Enum):
    """What came of a repair."""

    REPAIRED = "repaired"
    CHANGED = "it has changed meanwhile; nothing was written"


class Repairs:
    """`now_ms` is the wall clock, milliseconds since 1970; `cooldown_s` for networks that do not say their own."""

    def __init__(self, store: Store, committer: Committer, now_ms: Callable[[], int], cooldown_s: int) -> None:
        self._store = store
        self._committer = committer
        self._now_ms = now_ms
        self._cooldown_s = cooldown_s

    async def repair(self, wanted: Finding, presences: Presences) -> Outcome:
        """Mend what was found, if it is so still. Idempotent. Raises Unavailable, and Ambiguous when no answer comes at all."""
        lost: Ambiguous | None = None
        for _ in range(ATTEMPTS):
            snapshot = await around(self._store, wanted)
            found = next((one for one in leak_findings(snapshot, presences) if one.rests_as(wanted)), None)
            if found is None or found.repair is None:
                return Outcome.REPAIRED if lost else Outcome.CHANGED
            txn = repair(found, snapshot, self._now_ms(), self._cooldown_s)
            try:
                result = await self._committer.commit(txn)
            except Ambiguous as err:
                lost = err
                continue  # if it is there no more when we look again, it went by our hand, or it is mended anyhow
            if not result.succeeded:
                return Outcome.CHANGED
            _log(found)
            return Outcome.REPAIRED
        raise lost or Ambiguous(f"{wanted.kind} of {wanted.subject}: no answer")


async def around(store: Store, wanted: Finding) -> Snapshot:
    """What the finding rests on, as it is now: all that it names, at one revision.

    Of an endpoint also the attachments of its node, read before: an endpoint that stands as it did belongs to none that came
    later (an attachment and its endpoint are written together, and never onto one that is there).
    """
    items: dict[str, KeyValue] = {}
    if wanted.subject.startswith(keys.ENDPOINTS) and wanted.node:
        listing = await store.list(f"{keys.ATTACHMENTS}{wanted.node}/")
        items = {item.key: item for item in listing.items}
    names = [keys.TOPOLOGY, wanted.subject, *(fact.what for fact in wanted.evidence if fact.is_key)]
    names += [keys.node(wanted.node)] if wanted.node else []
    if any("\0" in name for name in names):
        raise InvalidInput(f"evidence of {wanted.subject} names what is no key")
    result = await store.txn([], [Get(name) for name in dict.fromkeys(names)])
    items |= {item.key: item for group in result.gets for item in group}
    return snapshot_of(items.values(), result.revision)


def _log(found: Finding) -> None:
    evidence = [f"{fact.what}@{fact.revision}: {fact.text}" for fact in found.evidence]
    fields = {"kind": found.kind.value, "subject": found.subject, "node": found.node, "ip": found.ip, "action": found.action}
    log.warning("leak repaired", extra={**fields, "evidence": evidence})
