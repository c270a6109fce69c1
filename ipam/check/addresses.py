"""Checks of addresses and endpoints: those that no attachment has, and those that lie where they should not. Pure."""

from collections.abc import Iterator

from ipam.check.finding import Fact, Finding, Kind, Repair
from ipam.check.liveness import Judged, Life, Presences, judge
from ipam.check.snapshot import Kept, Snapshot
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, block_key

__all__ = ["address_findings", "endpoint_findings"]


def address_findings(snapshot: Snapshot, presences: Presences) -> Iterator[Finding]:
    """Of every address."""
    for kept in snapshot.addresses.values():
        yield from _place(snapshot, kept)
        record = kept.value
        if record.attachment is None:
            text = "none: it counts as held, by nobody that is known; look at it: romana store get"
            facts = (Fact(kept.key, kept.revision, "names no attachment"),)
            yield Finding(Kind.ADDRESS_UNREADABLE, kept.key, "", str(record.ip), facts, text)
        elif record.held:
            yield from _holder(snapshot, presences, kept, record.attachment)


def endpoint_findings(snapshot: Snapshot, presences: Presences) -> Iterator[Finding]:
    """Of every endpoint; one that an attachment has is looked at with that."""
    for kept in snapshot.endpoints.values():
        if (kept.value.node, kept.value.host_interface) in snapshot.interfaces:
            continue
        if not kept.value.node or "/" in kept.value.node:
            facts = (Fact(kept.key, kept.revision, "cannot be read"),)
            text = "none: it is not known whose it is; look at it: romana store get"
            yield Finding(Kind.ENDPOINT_UNREADABLE, kept.key, "", "", facts, text)
            continue
        judged = judge(snapshot, presences, kept.value.node, kept.value.host_interface)
        repair = None if _may_live(judged) else Repair.DROP_ENDPOINT
        action = _doubt(judged, kept.value.node) if _may_live(judged) else "delete it: no attachment has it, no interface either"
        ips = ", ".join(kept.value.addresses)
        evidence = (Fact(kept.key, kept.revision, f"{ips}; no attachment has {kept.value.host_interface}"), *judged.facts)
        yield Finding(Kind.ENDPOINT_NO_ATTACHMENT, kept.key, kept.value.node, ips, evidence, action, repair)


def _place(snapshot: Snapshot, kept: Kept[AddressRecord]) -> Iterator[Finding]:
    record = kept.value
    own = Fact(kept.key, kept.revision, f"in block {record.block}")
    node = record.attachment.node if record.attachment else ""
    if record.ip not in record.block:
        text = "none: which block counts it is not known; make the pod anew"
        yield Finding(Kind.ADDRESS_OUTSIDE_BLOCK, kept.key, node, str(record.ip), (own,), text, since_ms=record.since_ms)
    elif record.held and block_key(record.network, record.block) not in snapshot.blocks:
        facts = (own, Fact(block_key(record.network, record.block), 0, "absent"))
        text = "none: no route leads to it, and nobody else can claim the block as long as it is held; make the pod anew"
        yield Finding(Kind.ADDRESS_BLOCK_MISSING, kept.key, node, str(record.ip), facts, text, since_ms=record.since_ms)


def _holder(snapshot: Snapshot, presences: Presences, kept: Kept[AddressRecord], attachment: AttachmentId) -> Iterator[Finding]:
    record, holder = kept.value, snapshot.attachments.get(attachment.key)
    holds = holder is not None and holder.value is not None and any(one.ip == record.ip for one in holder.value.addresses)
    if holder is not None and holder.value is not None and holds:
        yield from _foreign_block(snapshot, kept, holder, holder.value)
        return
    if holder is not None and holder.value is None:
        return  # told as an attachment that cannot be read; it may hold this
    claims = snapshot.claims.get(kept.key, ())
    if claims:
        return  # told as doubled, of the attachment that says that it has it
    judged = judge(
        snapshot,
        presences,
        attachment.node,
        attachment.host_interface,
        boot_id=holder.value.boot_id if holder and holder.value else "",
        pod=record.pod,
    )
    gone = Fact(attachment.key, holder.revision if holder else 0, f"does not have {record.ip}" if holder else "absent")
    facts = (Fact(kept.key, kept.revision, f"held by {attachment}"), gone, *judged.facts)
    repair = None if _may_live(judged) else Repair.COOL
    action = _doubt(judged, attachment.node) if _may_live(judged) else "let it cool: nobody has it"
    yield Finding(Kind.ADDRESS_NO_ATTACHMENT, kept.key, attachment.node, str(record.ip), facts, action, repair, record.since_ms)


def _foreign_block(
    snapshot: Snapshot, kept: Kept[AddressRecord], holder: Kept[AttachmentRecord | None], record: AttachmentRecord
) -> Iterator[Finding]:
    block = snapshot.blocks.get(block_key(kept.value.network, kept.value.block))
    if block is None or block.value.node_uid == record.node_uid:
        return
    facts = (
        Fact(kept.key, kept.revision, f"held by {record.id}"),
        Fact(holder.key, holder.revision, f"node uid {record.node_uid}"),
        Fact(block.key, block.revision, f"of node {block.value.node}, uid {block.value.node_uid}"),
    )
    text = "none: its packets are routed to the block's owner; make the pod anew"
    ip = str(kept.value.ip)
    yield Finding(Kind.ADDRESS_BLOCK_FOREIGN, kept.key, record.id.node, ip, facts, text, since_ms=kept.value.since_ms)


def _may_live(judged: Judged) -> bool:
    """No attachment stands for it, so nothing can bring it back without a write that a repair's transaction would see."""
    return judged.life in {Life.LIVES, Life.DOUBTED}


def _doubt(judged: Judged, node: str) -> str:
    why = judged.why or f"the agent of {node} was not heard, or has its interface"
    return f"none: {why}, so it may live; start the agent there, or delete its pod"
