"""Checks of attachments: dead ones, and living ones that their addresses or endpoint do not agree with. Pure."""

from collections.abc import Iterator

from ipam.check.finding import Fact, Finding, Kind, Repair
from ipam.check.liveness import Judged, Life, Presences, judge
from ipam.check.snapshot import EndpointRecord, Kept, Snapshot
from ipam.records import AddressRecord, Assigned, AttachmentRecord, address_key, block_key
from romana import keys

__all__ = ["attachment_findings", "endpoint_key_for", "own_endpoints"]

_DEAD = {
    Life.NODE_GONE: Kind.ATTACHMENT_NODE_GONE,
    Life.NODE_REPLACED: Kind.ATTACHMENT_NODE_REPLACED,
    Life.BOOT_REPLACED: Kind.ATTACHMENT_BOOT_REPLACED,
}


def attachment_findings(snapshot: Snapshot, presences: Presences) -> Iterator[Finding]:
    """Of every attachment; what is to be released whole is not looked at further."""
    for kept in snapshot.attachments.values():
        record = kept.value
        if record is None:
            yield _unreadable(kept)
            continue
        judged = judge(
            snapshot,
            presences,
            record.id.node,
            record.id.host_interface,
            uid=record.node_uid,
            boot_id=record.boot_id,
            pod=record.pod,
        )
        if judged.life is not Life.LIVES:
            yield _dead(snapshot, kept, record, judged)
        else:
            yield from _endpoint(snapshot, kept, record)
            for assigned in record.addresses:
                yield from _address(snapshot, kept, record, assigned)


def own_endpoints(snapshot: Snapshot, record: AttachmentRecord) -> list[Kept[EndpointRecord]]:
    """The endpoints that are the attachment's: its host interface says so."""
    found = [snapshot.endpoints[key] for key in record.endpoint_keys if key in snapshot.endpoints]
    return [kept for kept in found if kept.value.host_interface == record.id.host_interface]


def endpoint_key_for(snapshot: Snapshot, record: AttachmentRecord) -> str:
    """Where the attachment's endpoint is, or is to be."""
    own = own_endpoints(snapshot, record)
    plain, full = record.endpoint_keys
    return own[0].key if own else full if plain in snapshot.endpoints else plain


def _dead(snapshot: Snapshot, kept: Kept[AttachmentRecord | None], record: AttachmentRecord, judged: Judged) -> Finding:
    facts = [_fact(kept, record), *judged.facts]
    for assigned in record.addresses:
        address = snapshot.addresses.get(address_key(assigned.network, assigned.ip))
        facts.append(_address_fact(assigned, address))
    facts += [_endpoint_fact(endpoint) for endpoint in own_endpoints(snapshot, record)]
    repair, action = _what_to_do(judged)
    if judged.life is Life.DOUBTED:
        kind = Kind.ATTACHMENT_NODE_REPLACED if record.id.node in snapshot.nodes else Kind.ATTACHMENT_NODE_GONE
    else:
        kind = _DEAD.get(judged.life, Kind.ATTACHMENT_NO_INTERFACE)
    return Finding(kind, kept.key, record.id.node, _ips(record), tuple(facts), action, repair, record.created_ms)


def _what_to_do(judged: Judged) -> tuple[Repair | None, str]:
    if judged.life is Life.DOUBTED:
        return None, f"none: {judged.why}, so it may live; delete its pod, or add the node again"
    if judged.life is Life.NO_INTERFACE:
        return None, "none: its agent releases it (agent.stale_after_s), as it alone can keep an ADD out meanwhile"
    return Repair.RELEASE, f"release it ({judged.life.value}): its addresses cool, attachment and endpoint go"


def _endpoint(snapshot: Snapshot, kept: Kept[AttachmentRecord | None], record: AttachmentRecord) -> Iterator[Finding]:
    own = own_endpoints(snapshot, record)
    wanted = tuple(str(assigned.ip) for assigned in record.addresses)
    right = next((endpoint for endpoint in own if endpoint.value.addresses == wanted), None)
    if right is not None:
        stale = (endpoint for endpoint in own if endpoint.key != right.key)
        yield from (_stale(kept, record, right, endpoint) for endpoint in stale)
        return
    facts = [_fact(kept, record), *(_endpoint_fact(endpoint) for endpoint in own)]
    if not own:
        facts += [
            _endpoint_fact(snapshot.endpoints[key]) if key in snapshot.endpoints else Fact(key, 0, "absent")
            for key in record.endpoint_keys
        ]
    several = len(own) > 1
    action = "none: it has two; make the pod anew" if several else "write the endpoint that the attachment says"
    repair = None if several else Repair.WRITE_ENDPOINT
    yield _about(Kind.ATTACHMENT_NO_ENDPOINT, kept, record, facts, action, repair)


def _stale(
    kept: Kept[AttachmentRecord | None],
    record: AttachmentRecord,
    right: Kept[EndpointRecord],
    endpoint: Kept[EndpointRecord],
) -> Finding:
    facts = (_fact(kept, record), _endpoint_fact(right), _endpoint_fact(endpoint))
    ips, action = ", ".join(endpoint.value.addresses), "delete it: its attachment has another, that agrees with it"
    return Finding(Kind.ENDPOINT_STALE, endpoint.key, record.id.node, ips, facts, action, Repair.DROP_ENDPOINT)


def _address(
    snapshot: Snapshot, kept: Kept[AttachmentRecord | None], record: AttachmentRecord, assigned: Assigned
) -> Iterator[Finding]:
    key = address_key(assigned.network, assigned.ip)
    address = snapshot.addresses.get(key)
    facts = [_fact(kept, record), _address_fact(assigned, address)]
    if assigned.ip not in assigned.block:
        text = f"none: it says that {assigned.ip} lies in block {assigned.block}; make the pod anew"
        yield _about(Kind.ATTACHMENT_OUTSIDE_BLOCK, kept, record, facts, text, None)
        return
    if address is not None and address.value.held and address.value.attachment == record.id:
        return
    others = [claim for claim in snapshot.claims.get(key, ()) if claim.key != kept.key]
    if others or (address is not None and address.value.held):
        facts += [Fact(claim.key, claim.revision, f"has {assigned.ip}, too") for claim in others]
        text = "none: two attachments say that it is theirs; delete one of the two pods"
        yield Finding(
            Kind.ADDRESS_DOUBLED, key, record.id.node, str(assigned.ip), tuple(facts), text, None, since_ms=record.created_ms
        )
        return
    block = snapshot.blocks.get(block_key(assigned.network, assigned.block))
    facts.append(_block_fact(assigned, block.revision if block else 0, block.value.node_uid if block else ""))
    owned = block is not None and block.value.node_uid == record.node_uid
    text = "hold the address for it again" if owned else "none: its block is not its node's any more; make the pod anew"
    yield Finding(
        Kind.ATTACHMENT_ADDRESS_LOST,
        kept.key,
        record.id.node,
        str(assigned.ip),
        tuple(facts),
        text,
        Repair.HOLD if owned else None,
        record.created_ms,
    )


def _unreadable(kept: Kept[AttachmentRecord | None]) -> Finding:
    node = kept.key.removeprefix(keys.ATTACHMENTS).partition("/")[0]
    facts = (Fact(kept.key, kept.revision, "cannot be read"),)
    text = "none: it is not known what it has, so it may live; look at it: romana store get"
    return Finding(Kind.ATTACHMENT_UNREADABLE, kept.key, node, "", facts, text)


def _about(
    kind: Kind,
    kept: Kept[AttachmentRecord | None],
    record: AttachmentRecord,
    facts: list[Fact],
    action: str,
    repair: Repair | None,
) -> Finding:
    return Finding(kind, kept.key, record.id.node, _ips(record), tuple(facts), action, repair, record.created_ms)


def _ips(record: AttachmentRecord) -> str:
    return ", ".join(str(assigned.ip) for assigned in record.addresses)


def _fact(kept: Kept[AttachmentRecord | None], record: AttachmentRecord) -> Fact:
    pod = f"pod {record.pod}" if record.pod else "no pod"
    text = f"{_ips(record)}; {pod}; node uid {record.node_uid or 'not known'}, boot {record.boot_id or 'not known'}"
    return Fact(kept.key, kept.revision, text)


def _address_fact(assigned: Assigned, kept: Kept[AddressRecord] | None) -> Fact:
    key = address_key(assigned.network, assigned.ip)
    if kept is None:
        return Fact(key, 0, "absent")
    return Fact(key, kept.revision, f"{'held by' if kept.value.held else 'cooling, last of'} {kept.value.attachment}")


def _endpoint_fact(kept: Kept[EndpointRecord]) -> Fact:
    return Fact(kept.key, kept.revision, f"{', '.join(kept.value.addresses)} on {kept.value.node}, {kept.value.host_interface}")


def _block_fact(assigned: Assigned, revision: int, uid: str) -> Fact:
    return Fact(block_key(assigned.network, assigned.block), revision, f"of node uid {uid}" if revision else "absent")
