"""What this node was granted, as ipamd answered it, and how far the store was seen; kept to tell a restored store. Blocking.

    <state dir>/journal            for each attachment: pod, addresses with network and block (cni/agent_journal.py)
    <state dir>/seen.json          the store's history and the highest revision of it that any answer named, some seconds late

A grant is written before the ADD goes on, and removed when ipamd has taken the release. What survives is the page cache: a
machine that crashes takes its pods with it. A full disk stops no pod: it is logged.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.agent_files import AttachmentFiles
from cni.agent_journal import Document, Journal
from cni.request import AttachmentId, PodId

__all__ = ["Grant", "GrantedAddress", "Ledger", "Sight"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GrantedAddress:
    """An address as ipamd gave it, in its words."""

    network: str
    ip: str
    block: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What an attachment was granted, and for which pod."""

    pod: PodId | None
    addresses: tuple[GrantedAddress, ...]

    def document(self) -> Document:
        """For JSON."""
        pod = {"namespace": self.pod.namespace, "name": self.pod.name, "uid": self.pod.uid} if self.pod else None
        return {"pod": pod, "addresses": [[each.network, each.ip, each.block] for each in self.addresses]}

    @classmethod
    def parse(cls, document: Any) -> "Grant":
        """The inverse of `document`; raises KeyError, TypeError or ValueError."""
        pod = document["pod"]
        addresses = tuple(GrantedAddress(str(network), str(ip), str(block)) for network, ip, block in document["addresses"])
        return cls(PodId(pod["namespace"], pod["name"], pod["uid"]) if pod else None, addresses)


@dataclass(frozen=True, slots=True)
class Sight:
    """How far the store was seen; nothing at all: an empty history."""

    history: str = ""
    revision: int = 0


class Ledger:
    """See the module's docstring."""

    def __init__(self, state_dir: Path, journal: Journal) -> None:
        self._journal = journal
        self._sight_file = state_dir / "seen.json"
        self.sight = self._kept = self._read_sight()
        _take_over_files(state_dir / "granted", journal)

    def granted(self, attachment: AttachmentId, grant: Grant) -> None:
        """ipamd has answered an allocation. Microseconds, on any thread."""
        self._journal.append("grant", attachment, grant.document())

    def grants(self) -> dict[AttachmentId, Grant]:
        """All that was granted and not released."""
        found = {}
        for attachment, document in self._journal.granted().items():
            try:
                found[attachment] = Grant.parse(document)
            except (KeyError, TypeError, ValueError) as err:
                log.warning("grant cannot be read", extra={"attachment": str(attachment), "error": str(err)})
        return found

    def saw(self, history: str, revision: int) -> None:
        """An answer of ipamd said that the store's history is at this revision. Does not block; `keep` is for the disk."""
        same = history == self.sight.history
        if history and not (same and revision <= self.sight.revision):
            self.sight = Sight(history, revision)

    def keep(self) -> None:
        """Have on disk how far the store was seen; without effect when it is."""
        if self.sight == self._kept:
            return
        with _tolerant("how far the store was seen is not kept", history=self.sight.history):
            part = self._sight_file.with_suffix(".part")
            part.write_text(json.dumps({"history": self.sight.history, "revision": self.sight.revision}))
            part.rename(self._sight_file)
            self._kept = self.sight

    def _read_sight(self) -> Sight:
        try:
            document = json.loads(self._sight_file.read_text())
            return Sight(str(document["history"]), int(document["revision"]))
        except FileNotFoundError:
            return Sight()
        except (OSError, ValueError, KeyError, TypeError) as err:
            log.warning("how far the store was seen cannot be read", extra={"error": str(err)})
            return Sight()


def _take_over_files(folder: Path, journal: Journal) -> None:
    """What an agent of an earlier version has kept: a file for each grant."""
    if not folder.exists():
        return
    for attachment, document in AttachmentFiles(folder).all().items():
        if not journal.is_granted(attachment):
            journal.append("grant", attachment, document)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _tolerant(what: str, **fields: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        log.warning(what, extra={**fields, "error": str(err)})
