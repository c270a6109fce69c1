"""What clients were answered, and what therefore must be so. Pure.

    begin ──→ MAYBE ──answered──→ LIVING ──release begins, or its node goes──→ MAYBE ──release answered──→ forgotten

A call without a clear answer leaves MAYBE: it may happen now, later, or never. What is LIVING must be in the store, just so; what
is MAYBE may; anything else must not. An allocation that had no answer may come after its release was answered: such an attachment
is `haunted` for good.
"""

from dataclasses import dataclass

from romana.bench.hammer.finding import Finding

__all__ = ["Entry", "Ledger"]


@dataclass(slots=True)
class Entry:
    """An attachment that a client has asked for."""

    key: str
    node: str
    epoch: int
    """Of its node, when it was asked for."""
    addresses: tuple[str, ...] = ()
    """Its addresses while it is LIVING; empty: MAYBE."""
    haunted: bool = False
    clean: bool = True
    """Whether every call about it was answered: then it may be asked for again after its release."""


class Ledger:
    """Answers go in; what contradicts another answer comes out."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """All that are LIVING or MAYBE, by the attachment's key."""
        self.haunted: set[str] = set()
        """Keys that were released and may come yet."""
        self.retired: dict[str, list[str]] = {}
        """By node, uids of incarnations that are surely no more."""
        self._holder: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._going: set[str] = set()

    def begin(self, key: str, node: str) -> Entry:
        """An allocation is about to be asked for; repeats go on with the entry that is there."""
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(key, node, self._epochs.get(node, 0))
        return entry

    def allocated(self, entry: Entry, addresses: tuple[str, ...], *, existing: bool) -> list[Finding]:
        """It was answered."""
        if entry.addresses:
            return self._repeated(entry, addresses, existing=existing)
        if not self.is_current(entry):
            return []  # its node went meanwhile: whether it lives cannot be known
        found = []
        for ip in addresses:
            other = self._holder.get(ip)
            if other is not None:
                found.append(Finding("I1", f"{ip} was answered to {entry.key} while {other} lives with it", (entry.key, other)))
            self._holder[ip] = entry.key
        entry.addresses = addresses
        return found

    def is_current(self, entry: Entry) -> bool:
        """Whether its node is the one that it was asked for on."""
        stays = entry.node not in self._going and entry.epoch == self._epochs.get(entry.node, 0)
        return stays and self.entries.get(entry.key) is entry

    def doubtful(self, entry: Entry) -> None:
        """A release of it has had no clear answer: it may come late, so the attachment must not be asked for again."""
        entry.clean = False

    def abandoned(self, entry: Entry) -> None:
        """An allocation of it was refused, or has had no answer: it, or an attempt of its ipamd, may come late."""
        entry.clean, entry.haunted = False, True

    def begin_release(self, entry: Entry) -> None:
        """Its release is about to be asked for: from now on others may have its addresses."""
        for ip in entry.addresses:
            if self._holder.get(ip) == entry.key:
                del self._holder[ip]
        entry.addresses = ()

    def released(self, entry: Entry) -> None:
        """Its release was answered."""
        if self.entries.get(entry.key) is entry:
            del self.entries[entry.key]
        if entry.haunted:
            self.haunted.add(entry.key)

    def node_goes(self, node: str) -> None:
        """The node is about to be removed with whatever lives on it: until `node_went`, nothing is known of what is answered."""
        self._going.add(node)
        self._epochs[node] = self._epochs.get(node, 0) + 1
        for entry in self.entries.values():
            if entry.node == node:
                self.begin_release(entry)
                self.doubtful(entry)

    def node_went(self, node: str) -> None:
        """Its removal was answered: what is asked for from now on stays."""
        self._going.discard(node)
        self._epochs[node] = self._epochs.get(node, 0) + 1

    @property
    def living(self) -> dict[str, tuple[str, ...]]:
        """Key -> addresses of all that must be there."""
        return {entry.key: entry.addresses for entry in self.entries.values() if entry.addresses}

    def differences(self, stored: dict[str, tuple[str, ...]]) -> list[Finding]:
        """What the store's attachments (key -> addresses) contradict, when nobody asks for anything."""
        lost = [
            Finding("I2", f"{key} was told that it has {addresses}, and has {stored.get(key, 'nothing')}", (key,))
            for key, addresses in self.living.items()
            if stored.get(key) != addresses
        ]
        known = self.entries.keys() | self.haunted
        strange = [
            Finding("I8", f"{key} has {addresses}, and nobody asked for it, or it was released", (key,))
            for key, addresses in stored.items()
            if key not in known
        ]
        return lost + strange

    @staticmethod
    def _repeated(entry: Entry, addresses: tuple[str, ...], *, existing: bool) -> list[Finding]:
        if addresses == entry.addresses and existing:
            return []
        said = "again" if existing else "as new"
        return [Finding("I5", f"{entry.key} has {entry.addresses}, and a repeat was answered {addresses}, {said}", (entry.key,))]
