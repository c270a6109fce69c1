"""What the agent remembers of attachments: a folder with one JSON file for each. Blocking.

Every file appears whole: it is written under another name, then renamed. What survives the agent's death is the page cache, which
is enough for what the kernel forgets at a crash too; `durable` survives the machine's.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from cni.request import AttachmentId
from romana.errors import ConfigError, Fault

__all__ = ["AttachmentFiles", "Document"]

log = logging.getLogger(__name__)

Document = Mapping[str, object]


class AttachmentFiles:
    """One folder, made when it is missing, ConfigError when it cannot be. Later errors of the disk come as they are: OSError."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / ".probe").touch()
            (folder / ".probe").unlink()
        except OSError as err:
            fault = Fault("agent.state_dir", f"is {str(folder.parent)!r}, and {folder} cannot be written: {err.strerror}")
            raise ConfigError("the agent cannot work as configured:", [fault]) from err

    def write(self, attachment: AttachmentId, more: Document | None = None) -> None:
        """Make or replace an attachment's file; if `durable`, on disk when this returns (man 2 fsync: file, then folder)."""
        file = self.path(attachment)
        part = file.with_suffix(".part")
        key = {"conf": attachment.conf, "container_id": attachment.container_id, "ifname": attachment.ifname}
        with part.open("w") as stream:
            stream.write(json.dumps(key | dict(more or {})))
            if self._durable:
                stream.flush()
                os.fsync(stream.fileno())
        part.rename(file)
        if self._durable:
            self._sync_folder()

    def has(self, attachment: AttachmentId) -> bool:
        """True when there is a file of this attachment."""
        return self.path(attachment).exists()

    def remove(self, attachment: AttachmentId) -> None:
        """Remove an attachment's file, if there is one."""
        self.path(attachment).unlink(missing_ok=True)

    def all(self) -> dict[AttachmentId, Document]:
        """Every attachment that has a file, in the order of their names, and what is in it beside the key."""
        found = (self._read(file) for file in sorted(self._folder.glob("*.json")))
        return dict(entry for entry in found if entry)

    def path(self, attachment: AttachmentId) -> Path:
        """An attachment's file. Hashed: a container id may be as long as a file name can be."""
        return self._folder / (hashlib.sha256(str(attachment).encode()).hexdigest() + ".json")

    def _read(self, file: Path) -> tuple[AttachmentId, Document] | None:
        try:
            document = json.loads(file.read_text())
            return AttachmentId.of(document.pop("conf"), document.pop("container_id"), document.pop("ifname")), document
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, IsADirectoryError):
            log.exception("file cannot be read and is put aside", extra={"file": str(file)})
            file.rename(file.with_suffix(".broken"))
        except FileNotFoundError:  # a DEL was faster
            pass
        return None

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
