"""The end of a run: nobody is hurt any more, nobody asks for anything, and everything must agree.

all run ──→ all ipamd killed and started anew ──→ every node takes pods ──→ ledger and etcd agree
        ──→ every ipamd serves every node ──→ what each ipamd counts is what etcd has ──→ all is released ──→ nothing is left
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ipam import codec_address
from ipam.invariants import faults
from romana import keys
from romana.bench.hammer.admin import Admin
from romana.bench.hammer.calls import Calls
from romana.bench.hammer.checker import Checker
from romana.bench.hammer.client import Client
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.ledger import Ledger
from romana.bench.hammer.nodes import Nodes
from romana.bench.hammer.rig import Rig
from romana.errors import InvalidInput, RomanaError
from romana.store.api import Listing, Store
from romana.v1 import ipam_pb2, node_pb2, store_pb2

__all__ = ["Parts", "await_serving", "settle"]

PATIENCE_S = 120.0  # for what must come; a machine may be busy
POLL_S = 0.2
CALL_S = 15.0
PROBE = "probe"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a run is made of."""

    rig: Rig
    store: Store
    calls: Calls
    nodes: Nodes
    ledger: Ledger
    checker: Checker
    admin: Admin
    clients: tuple[Client, ...]
    found: Callable[[Finding], None]


async def await_serving(calls: Calls) -> None:
    """Wait until every ipamd answers; raises RomanaError when one does not."""
    request = ipam_pb2.LookupRequest(ip="192.0.2.1")
    for at in range(len(calls.targets)):
        await _patiently(partial(calls.ipam, at, lambda stub: stub.Lookup(request, timeout=CALL_S)))


async def settle(parts: Parts) -> None:
    """See the module's docstring; raises RomanaError when something does not come to its end."""
    for process in parts.rig.ipamds:  # whatever they still had in hand ends with them
        process.kill()
        process.start()
    await await_serving(parts.calls)
    await parts.admin.put_right()
    await _compare(parts)
    await _serve(parts)
    await _counts(parts)
    for client in parts.clients:
        await client.release_all()
    await _release_haunted(parts)
    left = await _listed(parts.store, keys.ATTACHMENTS)
    for item in left.items:
        parts.found(Finding("I8", f"{item.key} is left when all was released", (item.key,), left.revision))
    await _compare(parts)


async def _compare(parts: Parts) -> None:
    """Etcd with what was answered, and with itself, by the watch's picture and by ipam.invariants."""
    listing = await _listed(parts.store, keys.ATTACHMENTS)
    records = [codec_address.read_attachment(item) for item in listing.items]
    stored = {record.id.key: tuple(str(address.ip) for address in record.addresses) for record in records}
    for finding in parts.ledger.differences(stored):
        parts.found(finding)
    await parts.checker.reached(listing.revision)
    await _patiently(parts.checker.whole)
    for line in await _patiently(partial(faults, parts.store)):
        parts.found(Finding("whole", line, (), listing.revision))


async def _serve(parts: Parts) -> None:
    """I13: with free addresses an allocation succeeds, from every ipamd, for every node."""
    calls = parts.calls
    for at in range(len(calls.targets)):
        for node in parts.nodes:
            key = store_pb2.AttachmentKey(node=node.spec.name, conf=PROBE, container_id=f"{PROBE}-{at}", ifname="eth0")
            request = ipam_pb2.AllocateRequest(attachment=key, node_uid=node.uid)
            try:
                await _patiently(partial(calls.allocate, at, request, CALL_S))
                await _patiently(partial(calls.release, at, key, CALL_S))
            except RomanaError as err:
                parts.found(Finding("I13", f"{calls.targets[at]} gives node {node.spec.name} no address: {err}"))


async def _counts(parts: Parts) -> None:
    """I10: the index of each ipamd says of each block what etcd says."""
    for at, target in enumerate(parts.calls.targets):
        for node in parts.nodes:
            deadline = time.monotonic() + PATIENCE_S
            told, wanted = await _told(parts.calls, at, node.spec.name), await _held(parts.store, node.uid)
            while told != wanted and time.monotonic() < deadline:
                await asyncio.sleep(POLL_S)
                told, wanted = await _told(parts.calls, at, node.spec.name), await _held(parts.store, node.uid)
            if told != wanted:
                parts.found(Finding("I10", f"{target} counts {told} held on {node.spec.name}, etcd has {wanted}"))


async def _told(calls: Calls, at: int, node: str) -> dict[tuple[str, str], int]:
    request = node_pb2.GetNodeRequest(name=node)
    answer = await _patiently(lambda: calls.topology(at, lambda stub: stub.GetNode(request, timeout=CALL_S)))
    return {(block.network, block.cidr): block.held for block in answer.blocks}


async def _held(store: Store, uid: str) -> dict[tuple[str, str], int]:
    """By network and block of a node: how many addresses are held."""
    blocks = [keys.parse_block(item.key) for item in (await _listed(store, keys.BLOCKS)).items if _owner(item.value) == uid]
    counts = {(network, str(cidr)): 0 for network, cidr in blocks}
    for item in (await _listed(store, keys.ADDRESSES)).items:
        record = codec_address.read_address(item)
        if record.held and (record.network, str(record.block)) in counts:
            counts[record.network, str(record.block)] += 1
    return counts


async def _release_haunted(parts: Parts) -> None:
    """What came although nobody waited for it."""
    for item in (await _listed(parts.store, keys.ATTACHMENTS)).items:
        key = store_pb2.Attachment.FromString(item.value).key
        await _patiently(partial(parts.calls.release, 0, key, CALL_S))


async def _listed(store: Store, prefix: str) -> Listing:
    return await _patiently(partial(store.list, prefix))


async def _patiently(call: Callable[[], Awaitable[Answer]]) -> Answer:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except InvalidInput:
            raise
        except RomanaError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_S)


def _owner(value: bytes) -> str:
    return store_pb2.Block.FromString(value).node_uid
