"""The transactions of repairs: each compares all keys that its finding rests on, so what came between undoes the repair, not it.

release         attachment, its addresses and endpoints, node (and Pod object) as in   ->  addresses cool, attachment and endpoint
                the evidence                                                               deleted, journal written
cool            address, attachment, node (and Pod object) as in the evidence          ->  address cools, journal written
hold            attachment, address, block as in the evidence                          ->  address held
drop endpoint   endpoint, node as in the evidence                                      ->  endpoint deleted
write endpoint  attachment, endpoint as in the evidence                                ->  endpoint

None is made while the store recovers from a restore. Every ADD that could bring back what is taken here writes one of these keys
(docs/adr/0012).
"""

from dataclasses import replace

from ipam import codec_address
from ipam.check.attachments import endpoint_key_for, own_endpoints
from ipam.check.finding import Finding, Repair
from ipam.check.snapshot import Kept, Snapshot
from ipam.commit import Txn, Write
from ipam.records import AddressRecord, AttachmentRecord, address_key
from romana import keys
from romana.store.api import Compare, Delete, Put

__all__ = ["repair"]


def repair(finding: Finding, snapshot: Snapshot, now_ms: int, cooldown_s: int) -> Txn:
    """The transaction of a finding that has a repair; `snapshot` has what the finding rests on.

    `cooldown_s` is for networks that do not say their own.
    """
    compares = [Compare.at(fact.what, fact.revision) for fact in finding.evidence if fact.is_key]
    compares.append(Compare.absent(keys.RESTORED))
    writes = _writes(finding, snapshot, now_ms, cooldown_s)
    return Txn(tuple(dict.fromkeys(compares)), tuple(writes))


def _writes(finding: Finding, snapshot: Snapshot, now_ms: int, cooldown_s: int) -> list[Write]:
    if finding.repair is Repair.DROP_ENDPOINT:
        return [Delete(finding.subject)]
    if finding.repair is Repair.COOL:
        return _cooled(snapshot, snapshot.addresses[finding.subject], now_ms, cooldown_s)
    record = snapshot.attachments[finding.subject].value
    if record is None:
        msg = f"{finding.subject} cannot be read, and has a repair"
        raise ValueError(msg)
    if finding.repair is Repair.RELEASE:
        return _released(snapshot, record, now_ms, cooldown_s)
    if finding.repair is Repair.WRITE_ENDPOINT:
        return [Put(endpoint_key_for(snapshot, record), codec_address.write_endpoint(record))]
    return [_held(record, finding.ip)]


def _released(snapshot: Snapshot, record: AttachmentRecord, now_ms: int, cooldown_s: int) -> list[Write]:
    writes: list[Write] = [Delete(record.id.key), *(Delete(endpoint.key) for endpoint in own_endpoints(snapshot, record))]
    for assigned in record.addresses:
        kept = snapshot.addresses.get(address_key(assigned.network, assigned.ip))
        if kept is not None and kept.value.held and kept.value.attachment == record.id:
            writes += _cooled(snapshot, kept, now_ms, cooldown_s)
    return writes


def _cooled(snapshot: Snapshot, kept: Kept[AddressRecord], now_ms: int, cooldown_s: int) -> list[Write]:
    networks = snapshot.topology.document.networks if snapshot.topology else ()
    said = next((network.cooldown_s for network in networks if network.name == kept.value.network), None)
    cooling = replace(kept.value, released_ms=now_ms, cooldown_s=cooldown_s if said is None else said)
    entry = keys.journal(now_ms, f"{kept.value.ip}-{kept.revision}")  # the key of this holding, as in ipam.transactions
    return [Put(kept.key, codec_address.write_address(cooling)), Put(entry, codec_address.write_journal(cooling))]


def _held(record: AttachmentRecord, ip: str) -> Write:
    assigned = next(one for one in record.addresses if str(one.ip) == ip)
    held = AddressRecord(assigned.network, assigned.ip, assigned.block, record.id, record.pod, record.created_ms)
    return Put(address_key(assigned.network, assigned.ip), codec_address.write_address(held))
