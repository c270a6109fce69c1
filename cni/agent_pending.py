"""Releases that ipamd has not heard of yet: one file per attachment, on disk before the DEL is answered. Blocking."""

import threading
from pathlib import Path

from cni.agent_files import AttachmentFiles
from cni.request import AttachmentId
from romana.errors import Unavailable

__all__ = ["PendingReleases"]


class PendingReleases:
    """The folder `<state dir>/pending`."""

    def __init__(self, state_dir: Path) -> None:
        self._files = AttachmentFiles(state_dir / "pending", durable=True)
        self._waiting = dict.fromkeys(self._files.all())
        self._lock = threading.Lock()  # file and memory change together, whichever threads call

    def add(self, attachment: AttachmentId) -> None:
        """Remember a release, durably; raises Unavailable."""
        with self._lock:
            self._waiting[attachment] = None
            try:
                self._files.write(attachment)
            except OSError as err:
                file = self._files.path(attachment)
                raise Unavailable(f"cannot remember the release of {attachment} in {file}: {err.strerror}") from err

    def has(self, attachment: AttachmentId) -> bool:
        """True when a release of this attachment waits. Does not block."""
        return attachment in self._waiting

    def remove(self, attachment: AttachmentId) -> None:
        """Forget a release that ipamd has taken."""
        with self._lock:
            self._files.remove(attachment)
            self._waiting.pop(attachment, None)

    def all(self) -> list[AttachmentId]:
        """Every release that waits, the oldest first. Does not block."""
        return list(self._waiting)
