"""A store as ipamd would have written it, piece by piece, to be broken; and the hammer's checker following it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ipam import codec, codec_address
from ipam.records import (
    AddressRecord,
    Assigned,
    AttachmentId,
    AttachmentRecord,
    BlockRecord,
    NodeRecord,
    TopologyRecord,
    address_key,
)
from ipam.topology.placement import Placement
from ipam.topology.reading import read_document
from romana import keys
from romana.bench.hammer.checker import Checker
from romana.bench.hammer.finding import Finding
from romana.store.api import Delete, Op, Put, Store
from tests.ipamd import flat

__all__ = [
    "COOLDOWN_S",
    "NETWORK",
    "Followed",
    "address",
    "attachment",
    "block",
    "followed",
    "give",
    "node",
    "take_back",
    "topology",
]

NETWORK = "pods"
COOLDOWN_S = 30
LONG_AGO_MS = 1_700_000_000_000


@dataclass
class Followed:
    """A checker and what it found."""

    store: Store
    checker: Checker
    findings: list[Finding] = field(default_factory=list)

    async def write(self, *ops: Op) -> int:
        """In one revision, which is judged before this returns."""
        revision = (await self.store.txn([], ops)).revision
        assert await self.checker.reached(revision)
        return revision

    @property
    def invariants(self) -> set[str]:
        """Those that were violated."""
        return {finding.invariant for finding in self.findings}


@asynccontextmanager
async def followed(store: Store) -> AsyncIterator[Followed]:
    """The checker on a store with a topology, two nodes, and a block of each."""
    findings: list[Finding] = []
    made = Followed(store, Checker(store, findings.append), findings)
    task = asyncio.create_task(made.checker.follow())
    try:
        await made.write(topology(), node("n1"), node("n2"), block("10.40.0.0/29", "n1"), block("10.40.0.8/29", "n2"))
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def topology(generation: int = 1, block_mask: int = 29, name: str = NETWORK) -> Put:
    """One network and one group."""
    document = read_document(json.dumps(flat(block_mask=block_mask, name=name)).encode())
    return Put(keys.TOPOLOGY, codec.write_topology(TopologyRecord.of(document, generation), LONG_AGO_MS))


def node(name: str, uid: str = "", *, draining: bool = False) -> Put:
    """Its uid is `<name>.0` where none is given."""
    place = Placement(NETWORK, NETWORK, "everyone", ip_network("10.40.0.0/16"))
    record = NodeRecord(name, uid or f"{name}.0", (), (), (place,), draining)
    return Put(keys.node(name), codec.write_node(record))


def block(cidr: str, name: str, uid: str = "") -> Put:
    """In the hands of that node."""
    record = BlockRecord(NETWORK, ip_network(cidr), name, uid or f"{name}.0")
    return Put(keys.block(NETWORK, record.cidr), codec.write_block(record))


def attachment(name: str, container: str, *ips: str, uid: str = "", cidr: str = "10.40.0.0/29") -> AttachmentRecord:
    """An anonymous one."""
    assigned = tuple(Assigned(NETWORK, ip_address(ip), ip_network(cidr)) for ip in ips)
    return AttachmentRecord(AttachmentId(name, "it", container, "eth0"), uid or f"{name}.0", "boot", None, assigned, LONG_AGO_MS)


def address(record: AttachmentRecord, since_ms: int = LONG_AGO_MS, released_ms: int | None = None) -> AddressRecord:
    """The record of its first address."""
    assigned = record.addresses[0]
    cooldown_s = 0 if released_ms is None else COOLDOWN_S
    return AddressRecord(NETWORK, assigned.ip, assigned.block, record.id, None, since_ms, released_ms, cooldown_s)


def give(record: AttachmentRecord, since_ms: int = LONG_AGO_MS) -> list[Op]:
    """What an allocation writes."""
    held = address(record, since_ms)
    return [
        Put(record.id.key, codec_address.write_attachment(record)),
        Put(record.endpoint_keys[0], codec_address.write_endpoint(record)),
        Put(address_key(NETWORK, held.ip), codec_address.write_address(held)),
    ]


def take_back(record: AttachmentRecord, since_ms: int = LONG_AGO_MS, released_ms: int | None = None) -> list[Op]:
    """What a release writes; now, where no time is given."""
    now_ms = time.time_ns() // 1_000_000 if released_ms is None else released_ms
    cooling = address(record, since_ms, now_ms)
    return [
        Delete(record.id.key),
        Delete(record.endpoint_keys[0]),
        Put(address_key(NETWORK, cooling.ip), codec_address.write_address(cooling)),
        Put(keys.journal(now_ms, f"{cooling.ip}-{record.id.container_id}"), codec_address.write_journal(cooling)),
    ]
