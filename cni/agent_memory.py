"""What outlives the agent of ADDs that run and of those that are finished. Blocking; the file: cni/agent_journal.py.

    ADD: intend ─→ Allocate ─→ plumb ─→ finish ─→ answer         DEL: delete ─→ unplumb ─→ answer
                      └── fails: undo ─→ settle                                        └─→ Release ─→ released

An intent that nobody works on is of an ADD that was never answered: its address must go back (cni/agent_recovery.py). A record is
of an ADD that was: its host routes and neighbours are kept (cni/agent_keeper.py). What is deleted and not released is owed to
ipamd (cni/agent_releasing.py).
"""

import logging
import math
import time

from cni.agent_journal import Document, Journal
from cni.repair import Record
from cni.request import AttachmentId
from romana.netlink.ip import IPAddress

__all__ = ["Memory"]

log = logging.getLogger(__name__)


class Memory:
    """Intents and records."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._records: dict[AttachmentId, Record] = {}
        self._known: dict[str | IPAddress, AttachmentId] = {}
        self._since: dict[AttachmentId, float] = {}
        for attachment, document in journal.finished().items():
            self._load(attachment, document)

    def intend(self, attachment: AttachmentId) -> bool:
        """An ADD is about to ask for an address; False when an earlier one is not settled."""
        is_first = not self._journal.is_intended(attachment)
        self._journal.append("intend", attachment)
        return is_first

    def settle(self, attachment: AttachmentId) -> None:
        """The ADD is finished, or undone."""
        if self._journal.is_intended(attachment):
            self._journal.append("settle", attachment)

    def is_intended(self, attachment: AttachmentId) -> bool:
        """True until it is settled. Does not block."""
        return self._journal.is_intended(attachment)

    def intents(self) -> list[AttachmentId]:
        """ADDs that run, or that an agent died of."""
        return self._journal.intended()

    def finish(self, record: Record) -> None:
        """An attachment is complete, and its ADD settled: keep what it needs on the node from now on."""
        self._journal.append("finish", record.attachment, record.document())
        self._unknow(record.attachment)
        self._know(record)
        self._since[record.attachment] = time.monotonic()

    def age_s(self, attachment: AttachmentId, now_s: float) -> float:
        """How long ago its ADD finished, by the monotonic clock; infinite for what this process did not finish."""
        return now_s - self._since.get(attachment, -math.inf)

    def forget(self, attachment: AttachmentId) -> None:
        """An attachment is about to go, or is gone."""
        self._unknow(attachment)
        if self._journal.is_finished(attachment):
            self._journal.append("forget", attachment)

    def delete(self, attachment: AttachmentId) -> None:
        """A DEL came: forget it, and owe ipamd its release. Before anything is removed."""
        self._unknow(attachment)
        self._journal.append("delete", attachment)

    def released(self, attachment: AttachmentId) -> None:
        """ipamd has taken the release, or would have none."""
        if self._journal.is_owed(attachment) or self._journal.is_granted(attachment):
            self._journal.append("released", attachment)

    def is_owed(self, attachment: AttachmentId) -> bool:
        """True from a DEL until it is released. Does not block."""
        return self._journal.is_owed(attachment)

    def owed(self) -> list[AttachmentId]:
        """What was deleted and not released, the oldest first."""
        return self._journal.owed()

    def record(self, attachment: AttachmentId) -> Record | None:
        """What is kept of an attachment."""
        return self._records.get(attachment)

    def records(self) -> tuple[Record, ...]:
        """All that is kept."""
        return tuple(self._records.values())

    def knows(self, name: str | IPAddress | None) -> bool:
        """True for a host interface or an address of a finished attachment."""
        return name in self._known

    def _load(self, attachment: AttachmentId, document: Document) -> None:
        try:
            self._know(Record.parse(attachment, document))
        except (KeyError, TypeError, ValueError) as err:
            log.warning("record of an attachment cannot be read", extra={"attachment": str(attachment), "error": str(err)})

    def _know(self, record: Record) -> None:
        self._records[record.attachment] = record
        self._known.update(dict.fromkeys(record.names(), record.attachment))

    def _unknow(self, attachment: AttachmentId) -> None:
        self._since.pop(attachment, None)
        record = self._records.pop(attachment, None)
        for name in record.names() if record else ():
            if self._known.get(name) == attachment:  # its address may be another's by now
                del self._known[name]
