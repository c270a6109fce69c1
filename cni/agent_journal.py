"""What outlives the agent's death, as one file of lines, each appended in one write. Blocking; any thread.

A file for each attachment would cost an ADD about a millisecond of the file system's work; a line costs microseconds. Nothing is
synced: what a killed agent has written stays in the page cache, and a crash of the machine takes the interfaces too. The file is
written anew, by rename (cni/agent_lines.py), at the start, when most of it is history, and when a line of it is missing.
"""

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cni.agent_lines import LineFile
from cni.request import AttachmentId
from romana.errors import ConfigError, Fault

__all__ = ["Journal", "Remembered", "replay"]

log = logging.getLogger(__name__)

LINES_MAX = 4096
"""History that is kept at most, beside what is still true: about 1 MiB."""

Document = Mapping[str, Any]


@dataclass(slots=True)
class Remembered:
    """What the lines add up to."""

    intended: dict[AttachmentId, None] = field(default_factory=dict)
    """ADDs that began and were not settled, the oldest first."""
    finished: dict[AttachmentId, Document] = field(default_factory=dict)
    """Finished attachments and what is kept of each."""
    granted: dict[AttachmentId, Document] = field(default_factory=dict)
    """What ipamd gave, and has not taken back."""
    owed: dict[AttachmentId, None] = field(default_factory=dict)
    """Attachments that a DEL came for, and of which ipamd has not taken the release, the oldest first."""

    def apply(self, op: str, key: AttachmentId, document: Document) -> None:
        """One line. `finish` settles too; `delete` settles, forgets, and owes a release; `released` pays it."""
        if op == "intend":
            self.intended[key] = None
        elif op == "settle":
            self.intended.pop(key, None)
        elif op == "finish":
            self.intended.pop(key, None)
            self.finished[key] = document
        elif op == "forget":
            self.finished.pop(key, None)
        elif op == "grant":
            self.granted[key] = document
        elif op == "released":
            self.granted.pop(key, None)
            self.owed.pop(key, None)
        elif op == "delete":
            self.intended.pop(key, None)
            self.finished.pop(key, None)
            self.owed[key] = None

    def lines(self) -> list[str]:
        """The fewest lines that add up to it."""
        granted = [_line("grant", key, document) for key, document in self.granted.items()]
        finished = [_line("finish", key, document) for key, document in self.finished.items()]
        # A DEL ends what was finished or intended before it, so it comes first.
        owed = [_line("delete", key, {}) for key in self.owed]
        return [*owed, *granted, *finished, *(_line("intend", key, {}) for key in self.intended)]


def replay(lines: Iterable[str]) -> Remembered:
    """What lines add up to; one that an agent died of writing, or that a full disk cut, is passed over."""
    found = Remembered()
    for line in lines:
        try:
            op, conf, container_id, ifname, document = json.loads(line)
            found.apply(op, AttachmentId.of(conf, container_id, ifname), dict(document))
        except (ValueError, TypeError, RecursionError):
            if line.strip():
                log.warning("a line of the journal cannot be read", extra={"line": line[:200]})
    return found


class Journal:
    """The file `<state dir>/journal`. A full disk stops no pod: it is logged, and made good when there is room."""

    def __init__(self, state_dir: Path) -> None:
        """Raises ConfigError when the file cannot be used."""
        self._file = state_dir / "journal"
        self._lock = threading.Lock()
        self._lines = LineFile(self._file)
        self._history = 0
        self._is_due = True
        """True: the file is to be written anew, as a line of it is missing, or most of it is history."""
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._now = replay(self._file.read_text(errors="replace").splitlines() if self._file.exists() else [])
            self._is_due = not self._lines.start(self._now.lines())
        except OSError as err:
            fault = Fault("agent.state_dir", f"is {str(state_dir)!r}, and {self._file} cannot be written: {err.strerror}")
            raise ConfigError("the agent cannot work as configured:", [fault]) from err

    def intended(self) -> list[AttachmentId]:
        """ADDs that began and were not settled."""
        with self._lock:
            return list(self._now.intended)

    def finished(self) -> dict[AttachmentId, Document]:
        """Finished attachments."""
        with self._lock:
            return dict(self._now.finished)

    def granted(self) -> dict[AttachmentId, Document]:
        """What ipamd gave, and has not taken back."""
        with self._lock:
            return dict(self._now.granted)

    def owed(self) -> list[AttachmentId]:
        """Attachments that were deleted and not released, the oldest first."""
        with self._lock:
            return list(self._now.owed)

    def is_owed(self, key: AttachmentId) -> bool:
        """True from its DEL until it is released."""
        return key in self._now.owed

    def is_intended(self, key: AttachmentId) -> bool:
        """True until it is settled, finished or deleted."""
        return key in self._now.intended

    def is_granted(self, key: AttachmentId) -> bool:
        """True until it is released."""
        return key in self._now.granted

    def is_finished(self, key: AttachmentId) -> bool:
        """True until it is forgotten."""
        return key in self._now.finished

    def append(self, op: str, key: AttachmentId, document: Document | None = None) -> None:
        """One of the words of `Remembered.apply`; written when this returns."""
        with self._lock:
            self._now.apply(op, key, document or {})
            self._history += 1
            self._is_due |= self._history > LINES_MAX + len(self._now.finished) + len(self._now.granted)
            if not (self._is_due and self._renewed()):
                self._write(_line(op, key, document or {}))

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._lines.close()

    def _renewed(self) -> bool:
        try:
            self._lines.renew(self._now.lines())
        except OSError as err:
            log.warning("what is remembered cannot be written anew yet", extra={"error": str(err)})
            return False
        self._history, self._is_due = 0, False
        return True

    def _write(self, line: str) -> None:
        try:
            self._lines.append(line)
        except OSError as err:
            self._is_due = True
            log.warning("what is remembered is not up to date", extra={"line": line[:200], "error": str(err)})


def _line(op: str, key: AttachmentId, document: Document) -> str:
    return json.dumps([op, key.conf, key.container_id, key.ifname, document])
