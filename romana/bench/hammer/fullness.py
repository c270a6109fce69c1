"""When a group was last full, or nearly: only then may an address be given out that has not cooled. No I/O.

An ipamd decides on what it has heard, and counts blocks as taken that it, or another, is about to claim. So it may see a group as
full a little before the last block is gone; and it sees it later than it was.
"""

from collections.abc import Iterator

from ipam.records import BlockRecord
from romana.bench.hammer.picture import Changes, Picture

__all__ = ["SPARE_BLOCKS", "Fullness"]

SPARE_BLOCKS = 100
"""With more free blocks nobody can take a group for full: claims under way, of every ipamd for every node, are fewer."""

Group = tuple[str, str]
"""Network and path."""


class Fullness:
    """Counts the blocks taken in each group."""

    def __init__(self) -> None:
        self._taken: dict[Group, int] = {}
        self._room: dict[Group, int] = {}
        self._last: dict[Group, int] = {}

    def take(self, picture: Picture, changes: Changes) -> None:
        """Count what a revision changed; the picture has it already."""
        if changes.topology:
            self.missed(picture)
            return
        for change in changes.blocks:
            for record, step in ((change.before, -1), (change.after, 1)):
                for group in _group(picture, record):
                    self._taken[group] = self._taken.get(group, 0) + step
                    self._note(group, picture.revision)

    def missed(self, picture: Picture) -> None:
        """Count anew; what was between is not known: every group may have been full."""
        prefixes = picture.topology.prefixes if picture.topology else ()
        self._room = {(p.network, p.path): 1 << (p.block_mask - p.cidr.prefixlen) for p in prefixes}
        self._taken = dict.fromkeys(self._room, 0)
        for record in picture.blocks.values():
            for group in _group(picture, record):
                self._taken[group] += 1
        self._last = dict.fromkeys(self._room, picture.revision)

    def was_full(self, network: str, path: str, since: int) -> bool:
        """Whether the group was (nearly) full at that revision or later."""
        group = (network, path)
        return self._room.get(group, 0) - self._taken.get(group, 0) <= SPARE_BLOCKS or self._last.get(group, 0) >= since

    def _note(self, group: Group, revision: int) -> None:
        if self._room.get(group, 0) - self._taken[group] <= SPARE_BLOCKS:
            self._last[group] = revision


def _group(picture: Picture, record: BlockRecord | None) -> Iterator[Group]:
    for prefix in picture.prefixes(record.network) if record else ():
        if record and record.cidr.network_address in prefix.cidr:
            yield prefix.network, prefix.path
