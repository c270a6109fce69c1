"""What no revision may do to what was there before it; what a listing alone can never show. No I/O."""

from collections.abc import Iterator
from dataclasses import replace

from ipam.records import AddressRecord, AttachmentRecord, BlockRecord, NodeRecord, TopologyRecord
from romana import keys
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.fullness import Fullness
from romana.bench.hammer.picture import Change, Changes, JournalEntry, Picture
from romana.bench.hammer.states import kept_back

__all__ = ["Transitions"]

CLOCKS_MS = 100
"""Cool-downs are counted by a monotonic clock and written by the wall clock, which may be slewed meanwhile."""


class Transitions:
    """Judges revision after revision."""

    def __init__(self) -> None:
        self._fullness = Fullness()
        self._until_ms: dict[tuple[str, str], int] = {}
        """By network and address, when its last holder in the journal gave it back."""

    def judge(self, picture: Picture, changes: Changes, seen_ms: int) -> Iterator[Finding]:
        """What a revision, which is in the picture, did that none may do; heard of at `seen_ms`, UTC since 1970."""
        self._fullness.take(picture, changes)
        if changes.recovery:
            yield Finding("I14", "a recovery began, and nothing was restored", (keys.RESTORED,), picture.revision)
        for topology in changes.topology:
            yield from _topology(picture, topology)
        for address in changes.addresses:
            yield from self._address(picture, address, seen_ms)
        yield from self._journal(picture, changes)
        for attachment in changes.attachments:
            yield from _attachment(picture, attachment)
        for block in changes.blocks:
            yield from _block(picture, block)
        for node in changes.nodes:
            yield from _node(picture, node)

    def missed(self, picture: Picture) -> None:
        """Revisions up to the picture's were not seen one by one."""
        self._fullness.missed(picture)

    def _address(self, picture: Picture, change: Change[AddressRecord], seen_ms: int) -> Iterator[Finding]:
        def found(invariant: str, text: str, *more: str) -> Finding:
            return Finding(invariant, f"{change.key} {text}", (change.key, *more), picture.revision)

        before, after = change.before, change.after
        if before and before.held and after is None:
            yield found("I1", f"was held by {before.attachment}, and is removed")
        if before and before.held and after and after.held:
            yield found("I1", f"was held by {before.attachment}, and is {after.attachment}'s with no release between")
        by = tuple(kept_back(picture, after, confirmed=False)) if after and after.held else ()
        if by:
            yield found("I10", "is reserved, and was given out", *by)
        if before is None or before.released_ms is None or (after and not after.held):
            return
        cooled_ms = before.released_ms + before.cooldown_s * 1000 - CLOCKS_MS
        if after is None and seen_ms < cooled_ms:
            yield found("I11", f"was forgotten {cooled_ms - seen_ms} ms before it had cooled")
        if after and after.since_ms < cooled_ms and not self._may_be_early(picture, change.since, after):
            yield found(
                "I11", f"was given out {cooled_ms - after.since_ms} ms before it had cooled; its group has blocks to spare"
            )

    def _may_be_early(self, picture: Picture, released: int, after: AddressRecord) -> bool:
        """Whether the pod asked for just this address, or the group was full at some time since the release."""
        pod, holder = after.pod, picture.attachments.get(after.attachment.key) if after.attachment else None
        if pod and str(after.ip) in picture.fixed.get(keys.pod(pod.namespace, pod.name), "").split(","):
            return True
        node = picture.nodes.get(keys.node(holder.id.node)) if holder else None
        place = node.placement(after.network) if node else None
        return place is None or self._fullness.was_full(place.network, place.path, released)

    def _journal(self, picture: Picture, changes: Changes) -> Iterator[Finding]:
        """Each release is in the journal, in the same revision, and nothing else is; no two held one address at one time."""
        wanted = {
            JournalEntry(before.network, str(before.ip), before.attachment.key, before.since_ms, after.released_ms or 0)
            for before, after in ((change.before, change.after) for change in changes.addresses)
            if before and before.held and before.attachment and after and not after.held
        }
        for entry in wanted ^ set(changes.journal):
            said = "is missing in the journal" if entry in wanted else "is in the journal, and there was no such release"
            yield Finding("I10", f"{entry} {said}", (keys.JOURNAL,), picture.revision)
        for entry in changes.journal:
            if entry.since_ms < self._until_ms.get((entry.network, entry.ip), 0):
                yield Finding("I1", f"{entry} begins before the holder before it ended", (keys.JOURNAL,), picture.revision)
            self._until_ms[entry.network, entry.ip] = entry.until_ms


def _topology(picture: Picture, change: Change[TopologyRecord]) -> Iterator[Finding]:
    before, after = (record.generation if record else 0 for record in (change.before, change.after))
    if after != before + 1:
        yield Finding("I12", f"the topology's generation went from {before} to {after}", (change.key,), picture.revision)


def _attachment(picture: Picture, change: Change[AttachmentRecord]) -> Iterator[Finding]:
    def found(invariant: str, text: str, *more: str) -> Finding:
        return Finding(invariant, f"attachment {change.key} {text}", (change.key, *more), picture.revision)

    before, after = change.before, change.after
    if before and after and replace(before, boot_id=after.boot_id) != after:  # an ADD of a later boot takes it over (ADR 0012)
        yield found(
            "I5", f"had {before.addresses} of {before.pod}, and has {after.addresses} of {after.pod} with no release between"
        )
    if before is None and after:
        node_key = keys.node(after.id.node)
        node = picture.nodes.get(node_key)
        if node is None or node.uid != after.node_uid:
            yield found("I9", f"was made for uid {after.node_uid}, and its node is {node.uid if node else 'not there'}", node_key)
        elif node.draining:
            yield found("I9", "was made while its node drained", node_key)


def _block(picture: Picture, change: Change[BlockRecord]) -> Iterator[Finding]:
    before, after = change.before, change.after
    if before and after and before != after:
        text = f"{change.key} was {before.node_uid}'s ({before.share}), and is {after.node_uid}'s ({after.share})"
        yield Finding("I4", text, (change.key,), picture.revision)
    if before is None and after and after.node_uid not in picture.uids:
        yield Finding(
            "I9", f"{change.key} was claimed for uid {after.node_uid}, which is no node's", (change.key,), picture.revision
        )


def _node(picture: Picture, change: Change[NodeRecord]) -> Iterator[Finding]:
    before, after = change.before, change.after
    if before and after and before.uid != after.uid:
        text = f"{change.key} was uid {before.uid}, and is {after.uid} with no removal between"
        yield Finding("I9", text, (change.key,), picture.revision)
    if after and picture.uids.get(after.uid) != after.name:
        yield Finding(
            "I9", f"uid {after.uid} is {after.name}'s and {picture.uids.get(after.uid)}'s", (change.key,), picture.revision
        )
