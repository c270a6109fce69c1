"""The whole decision: what is wrong in a snapshot, and what was seen twice. Pure.

findings(snapshot, presences) ──→ a sighting ──┐
          ...at least so many seconds later ───┴─→ Sightings.seen ──→ confirmed: equal findings, equal evidence
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ipam.check.addresses import address_findings, endpoint_findings
from ipam.check.attachments import attachment_findings
from ipam.check.blocks import block_findings, reservation_findings
from ipam.check.finding import Finding
from ipam.check.journal import journal_findings
from ipam.check.liveness import Presences
from ipam.check.snapshot import Snapshot

__all__ = ["Sightings", "findings", "leak_findings"]


def findings(snapshot: Snapshot, presences: Presences) -> list[Finding]:
    """Everything that is wrong, in the order of kinds and keys."""
    found = [
        *leak_findings(snapshot, presences),
        *block_findings(snapshot),
        *reservation_findings(snapshot),
        *journal_findings(snapshot),
    ]
    return sorted(found, key=lambda finding: (finding.kind, finding.subject, finding.ip))


def leak_findings(snapshot: Snapshot, presences: Presences) -> list[Finding]:
    """Of attachments, addresses and endpoints alone: what may be repaired."""
    return [
        *attachment_findings(snapshot, presences),
        *address_findings(snapshot, presences),
        *endpoint_findings(snapshot, presences),
    ]


@dataclass(frozen=True, slots=True)
class Sightings:
    """What was seen, and since when without a change; `first` is by a monotonic clock, in seconds."""

    first: Mapping[Finding, float] = field(default_factory=dict)

    def seen(self, found: Iterable[Finding], now_s: float, apart_s: float) -> tuple["Sightings", tuple[Finding, ...]]:
        """With another sighting; and the findings that this one confirms: seen before, as they are now, `apart_s` ago at least.

        What is not seen again, or rests on other evidence, begins anew.
        """
        first = {finding: self.first.get(finding, now_s) for finding in found if finding.repair is not None}
        known = (finding for finding in first if finding in self.first)
        return Sightings(first), tuple(finding for finding in known if now_s - first[finding] >= apart_s)
