"""Checks of the journal: a record that ends before it begins, two holders of one address at one time. Pure."""

from collections.abc import Iterator
from itertools import pairwise

from ipam.check.finding import Fact, Finding, Kind
from ipam.check.snapshot import Kept, Snapshot
from ipam.holdings import Holding

__all__ = ["journal_findings"]

_Entry = tuple[Kept[tuple[Holding, str] | None], Holding]


def journal_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Nothing of it is repaired: it is history, and tells of a clock that was set, or of what this check finds elsewhere."""
    spans: dict[tuple[str, str], list[_Entry]] = {}
    for kept in snapshot.journal:
        if kept.value is None:
            facts = (Fact(kept.key, kept.revision, "cannot be read"),)
            yield Finding(Kind.JOURNAL_UNREADABLE, kept.key, "", "", facts, "none: it is left until it is pruned")
            continue
        holding, ip = kept.value
        if _end(holding) < holding.since_ms:
            text = "none: the clock of an ipamd was set back meanwhile"
            yield Finding(Kind.JOURNAL_BACKWARDS, kept.key, _node(holding), ip, (_fact((kept, holding)),), text)
        spans.setdefault((holding.network, ip), []).append((kept, holding))
    for (_, ip), found in spans.items():
        for first, second in pairwise(sorted(found, key=lambda entry: (entry[1].since_ms, _end(entry[1])))):
            if second[1].since_ms < _end(first[1]):
                text = "none: clocks of two ipamd differ, or two had the address at once"
                both = (_fact(first), _fact(second))
                yield Finding(Kind.JOURNAL_OVERLAP, second[0].key, _node(second[1]), ip, both, text)


def _end(holding: Holding) -> int:
    return holding.since_ms if holding.until_ms is None else holding.until_ms


def _node(holding: Holding) -> str:
    return holding.attachment.node if holding.attachment else ""


def _fact(entry: _Entry) -> Fact:
    kept, holding = entry
    return Fact(kept.key, kept.revision, f"{holding.attachment}, ms {holding.since_ms} to {_end(holding)}")
