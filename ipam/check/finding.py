"""What a check finds: the finding, its evidence as keys and revisions, and what would mend it. Pure.

Two findings that are equal rest on the same evidence: texts are made of what does not change by itself (no ages, no times of
now), so equality is what "seen twice" means.
"""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Fact", "Finding", "Kind", "Presence", "Repair"]


class Kind(StrEnum):
    """What is wrong; the values are part of the command line's JSON."""

    ATTACHMENT_NODE_GONE = "attachment-node-gone"
    ATTACHMENT_NODE_REPLACED = "attachment-node-replaced"
    ATTACHMENT_BOOT_REPLACED = "attachment-boot-replaced"
    ATTACHMENT_NO_INTERFACE = "attachment-no-interface"
    ATTACHMENT_NO_ENDPOINT = "attachment-no-endpoint"
    ATTACHMENT_ADDRESS_LOST = "attachment-address-lost"
    ATTACHMENT_OUTSIDE_BLOCK = "attachment-outside-block"
    ATTACHMENT_UNREADABLE = "attachment-unreadable"
    ADDRESS_NO_ATTACHMENT = "address-no-attachment"
    ADDRESS_DOUBLED = "address-doubled"
    ADDRESS_OUTSIDE_BLOCK = "address-outside-block"
    ADDRESS_BLOCK_MISSING = "address-block-missing"
    ADDRESS_BLOCK_FOREIGN = "address-block-foreign"
    ADDRESS_UNREADABLE = "address-unreadable"
    ENDPOINT_NO_ATTACHMENT = "endpoint-no-attachment"
    ENDPOINT_STALE = "endpoint-stale"
    ENDPOINT_UNREADABLE = "endpoint-unreadable"
    BLOCK_OWNER_GONE = "block-owner-gone"
    BLOCK_MISPLACED = "block-misplaced"
    BLOCK_OVERLAP = "block-overlap"
    RESERVATION_UNCONFIRMED = "reservation-unconfirmed"
    RESERVATION_HELD = "reservation-held"
    RESERVATION_OUTSIDE = "reservation-outside"
    JOURNAL_BACKWARDS = "journal-backwards"
    JOURNAL_OVERLAP = "journal-overlap"
    JOURNAL_UNREADABLE = "journal-unreadable"


class Repair(StrEnum):
    """What ipamd can do, each in one transaction."""

    RELEASE = "release"
    """As a DEL would: addresses cool, attachment and endpoint go, the journal says it."""
    COOL = "cool"
    """The address cools, the journal says it."""
    HOLD = "hold"
    """The address is its attachment's again."""
    DROP_ENDPOINT = "drop-endpoint"
    WRITE_ENDPOINT = "write-endpoint"


@dataclass(frozen=True, slots=True)
class Fact:
    """One piece of evidence."""

    what: str
    """A key of the store, or `agent of NODE`."""
    revision: int
    """The key's mod_revision; 0: it is absent, or it is an agent's word."""
    text: str
    """What it says."""

    @property
    def is_key(self) -> bool:
        """Whether it is a key's, so that a transaction can compare its revision; no other evidence has a slash in its name."""
        return "/" in self.what


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with all that was looked at to say so."""

    kind: Kind
    subject: str
    """The key that it is about."""
    node: str
    """Whose it is; empty where no node has to do with it."""
    ip: str
    """The address, block or reservation; of an attachment all its addresses."""
    evidence: tuple[Fact, ...]
    action: str
    """What a repair would do, or why none is made, or what a person can do."""
    repair: Repair | None = None
    since_ms: int = field(default=0, compare=False)
    """Since when it cannot have been right, UTC in ms since 1970, as far as the records say; 0: they do not."""

    def rests_as(self, other: "Finding") -> bool:
        """Whether both say the same of the same key, by the same evidence."""
        return (self.kind, self.subject, self.evidence) == (other.kind, other.subject, other.evidence)


@dataclass(frozen=True, slots=True)
class Presence:
    """The node's own word: what its agent saw on it when it was asked."""

    node: str
    boot_id: str
    interfaces: frozenset[str]
    """Host ends that are there, and those of attachments that it was working on."""
