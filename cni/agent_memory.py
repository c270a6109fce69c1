"""What outlives the agent of ADDs that run and of those that are finished. Blocking; the files: cni/agent_files.py.

    ADD: intend ─→ Allocate ─→ plumb ─→ finish ─→ answer         DEL: forget ─→ unplumb ─→ Release ─→ settle
                      └── fails: undo ─→ settle

An intent that nobody works on is of an ADD that was never answered: its address must go back (cni/agent_recovery.py). A record is
of an ADD that was: its host routes and neighbours are kept (cni/agent_keeper.py).
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from cni.agent_files import AttachmentFiles, Document
from cni.repair import Record
from cni.request import AttachmentId
from romana.netlink.ip import IPAddress

__all__ = ["Memory"]

log = logging.getLogger(__name__)


class Memory:
    """The folders `<state dir>/intents` and `<state dir>/attachments`. A full disk stops no pod: it is logged."""

    def __init__(self, state_dir: Path) -> None:
        self._intents = AttachmentFiles(state_dir / "intents")
        self._intended = set(self._intents.all())
        self._files = AttachmentFiles(state_dir / "attachments")
        self._records: dict[AttachmentId, Record] = {}
        self._known: dict[str | IPAddress, AttachmentId] = {}
        for attachment, document in self._files.all().items():
            self._load(attachment, document)

    def intend(self, attachment: AttachmentId) -> bool:
        """An ADD is about to ask for an address; False when an earlier one is not settled."""
        is_first = attachment not in self._intended
        self._intended.add(attachment)
        with _tolerant(attachment):
            self._intents.write(attachment)
        return is_first

    def settle(self, attachment: AttachmentId) -> None:
        """The ADD is finished, or undone."""
        if attachment in self._intended:
            with _tolerant(attachment):
                self._intents.remove(attachment)
            self._intended.discard(attachment)

    def is_intended(self, attachment: AttachmentId) -> bool:
        """True until it is settled."""
        return attachment in self._intended

    def intents(self) -> list[AttachmentId]:
        """ADDs that run, or that an agent died of."""
        return list(self._intended)

    def finish(self, record: Record) -> None:
        """An attachment is complete: keep what it needs on the node from now on."""
        with _tolerant(record.attachment):
            self._files.write(record.attachment, record.document())
        self._unknow(record.attachment)
        self._know(record)
        self.settle(record.attachment)

    def forget(self, attachment: AttachmentId) -> None:
        """An attachment is about to go, or is gone."""
        self._unknow(attachment)
        with _tolerant(attachment):
            self._files.remove(attachment)

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
        record = self._records.pop(attachment, None)
        for name in record.names() if record else ():
            if self._known.get(name) == attachment:  # its address may be another's by now
                del self._known[name]


@contextlib.contextmanager
def _tolerant(attachment: AttachmentId) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        log.warning(
            "what is remembered of an attachment is not up to date", extra={"attachment": str(attachment), "error": str(err)}
        )
