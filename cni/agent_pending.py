"""Releases that ipamd has not heard of yet: one file per attachment, on disk before the DEL is answered. Blocking."""

import hashlib
import json
import os
from pathlib import Path

from cni.request import AttachmentId

__all__ = ["PendingReleases"]


class PendingReleases:
    """The folder `<state dir>/pending`."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "pending"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, attachment: AttachmentId) -> None:
        """Remember a release, durably (man 2 fsync: the file, then the folder that names it)."""
        file = self._file(attachment)
        part = file.with_suffix(".part")
        key = {"conf": attachment.conf, "container_id": attachment.container_id, "ifname": attachment.ifname}
        with part.open("w") as stream:
            json.dump(key, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(file)
        self._sync_folder()

    def has(self, attachment: AttachmentId) -> bool:
        """True when a release of this attachment waits."""
        return self._file(attachment).exists()

    def remove(self, attachment: AttachmentId) -> None:
        """Forget a release that ipamd has taken."""
        self._file(attachment).unlink(missing_ok=True)

    def all(self) -> list[AttachmentId]:
        """Every release that waits, in the order of their names."""
        return [AttachmentId(**json.loads(file.read_text())) for file in sorted(self._folder.glob("*.json"))]

    def _file(self, attachment: AttachmentId) -> Path:
        # Hashed: a container id may be as long as a file name can be.
        return self._folder / (hashlib.sha256(str(attachment).encode()).hexdigest() + ".json")

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
