"""Releases that ipamd has not heard of yet: one file per attachment, on disk before the DEL is answered. Blocking."""

import hashlib
import json
import logging
import os
from pathlib import Path

from cni.request import AttachmentId
from romana.errors import Unavailable

__all__ = ["PendingReleases"]


log = logging.getLogger(__name__)


class PendingReleases:
    """The folder `<state dir>/pending`."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "pending"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, attachment: AttachmentId) -> None:
        """Remember a release, durably (man 2 fsync: the file, then the folder that names it); raises Unavailable."""
        file = self._file(attachment)
        try:
            self._write(file, file.with_suffix(".part"), attachment)
        except OSError as err:
            raise Unavailable(f"cannot remember the release of {attachment} in {file}: {err.strerror}") from err

    def has(self, attachment: AttachmentId) -> bool:
        """True when a release of this attachment waits."""
        return self._file(attachment).exists()

    def remove(self, attachment: AttachmentId) -> None:
        """Forget a release that ipamd has taken."""
        self._file(attachment).unlink(missing_ok=True)

    def all(self) -> list[AttachmentId]:
        """Every release that waits, in the order of their names."""
        found = [self._read(file) for file in sorted(self._folder.glob("*.json"))]
        return [attachment for attachment in found if attachment]

    def _read(self, file: Path) -> AttachmentId | None:
        try:
            return AttachmentId(**json.loads(file.read_text()))
        except (ValueError, TypeError):
            log.exception("pending release cannot be read and is put aside", extra={"file": str(file)})
            file.rename(file.with_suffix(".broken"))
        except FileNotFoundError:  # a DEL was faster
            pass
        return None

    def _write(self, file: Path, part: Path, attachment: AttachmentId) -> None:
        key = {"conf": attachment.conf, "container_id": attachment.container_id, "ifname": attachment.ifname}
        with part.open("w") as stream:
            json.dump(key, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(file)
        self._sync_folder()

    def _file(self, attachment: AttachmentId) -> Path:
        # Hashed: a container id may be as long as a file name can be.
        return self._folder / (hashlib.sha256(str(attachment).encode()).hexdigest() + ".json")

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
