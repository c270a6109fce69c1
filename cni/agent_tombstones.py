"""DELs of the last minutes, in a file: an ADD that started before its DEL is refused by the agent's next process too. Blocking.

One line for each DEL, appended in one write: microseconds, no folder is touched. Times are of CLOCK_MONOTONIC, which begins anew
with each boot: lines of an earlier boot mean nothing, and whatever started before it is dead.
"""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from cni.agent_lines import LineFile
from cni.request import AttachmentId
from romana.errors import ConfigError, Fault

__all__ = ["Tombstones"]

log = logging.getLogger(__name__)

LINES_MAX = 8192
"""Then the file is written anew without the old ones: about 1 MiB."""


class Tombstones:
    """The file `<state dir>/tombstones`. A full disk stops no DEL: it is logged."""

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        """Raises ConfigError when the file cannot be used."""
        self._file = state_dir / "tombstones"
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._file_lines = LineFile(self._file)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lines = [line for line in self._read() if line]
            self._file_lines.start(self._remembered())
        except OSError as err:
            fault = Fault("agent.state_dir", f"is {str(state_dir)!r}, and {self._file} cannot be written: {err.strerror}")
            raise ConfigError("the agent cannot work as configured:", [fault]) from err

    def all(self) -> dict[AttachmentId, int]:
        """When the last DEL of each attachment started, in ns, in the order of the DELs."""
        found: dict[AttachmentId, int] = {}
        for line in self._lines:
            parsed = self._parsed(line)
            if parsed:
                found.pop(parsed[0], None)
                found[parsed[0]] = parsed[1]
        return found

    def add(self, attachment: AttachmentId, started_ns: int) -> None:
        """Remember a DEL, before it is answered."""
        key = (attachment.conf, attachment.container_id, attachment.ifname)
        line = json.dumps([self._boot_id, started_ns, *key])
        with self._lock:
            self._lines.append(line)
            try:
                if len(self._lines) > LINES_MAX:
                    self._lines = self._lines[-LINES_MAX // 2 :]
                    self._file_lines.renew(self._remembered())
                else:
                    self._file_lines.append(line)
            except OSError as err:
                log.warning("a DEL is not remembered", extra={"attachment": str(attachment), "error": str(err)})

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file_lines.close()

    def _read(self) -> list[str]:
        try:
            return self._file.read_text(errors="replace").splitlines()[-LINES_MAX // 2 :]
        except FileNotFoundError:
            return []

    def _remembered(self) -> Iterator[str]:
        return (line for line in self._lines if self._parsed(line))

    def _parsed(self, line: str) -> tuple[AttachmentId, int] | None:
        """None for a line of another boot, or one that the agent died of writing."""
        try:
            boot_id, started_ns, conf, container_id, ifname = json.loads(line)
            return (AttachmentId.of(conf, container_id, ifname), int(started_ns)) if boot_id == self._boot_id else None
        except (ValueError, TypeError, RecursionError):
            return None
