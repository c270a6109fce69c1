"""At a quiet point: whether etcd, kernels and pods agree. Each check gives sentences, none when all is well."""

import asyncio
import time
from collections.abc import Mapping

from ipam import codec, codec_address
from ipam.invariants import faults
from ipam.records import AttachmentRecord
from romana import keys
from romana.bench.chaos import kernel
from romana.errors import RomanaError
from romana.lab.describe import missing_processes
from romana.lab.pods import PodRecord, records
from romana.lab.spec import LabSpec
from romana.receipts import POLICYD_PREFIXES, ROUTED_PREFIXES, behind, newest_revisions
from romana.store.api import Store
from romana.store.opening import open_store
from romana.v1.store_pb2 import Receipt

__all__ = ["disagreements", "settled"]

SETTLE_S = 60.0
POLL_S = 0.5
STORE_TIMEOUT_S = 30.0


async def settled(lab: LabSpec, pods: Mapping[str, PodRecord]) -> list[str]:
    """Wait until everything agrees, a minute at most; gives what does not then. `pods`: by name, those whose ADD was answered."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        wrong = await disagreements(lab, pods)
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(POLL_S)


async def disagreements(lab: LabSpec, pods: Mapping[str, PodRecord]) -> list[str]:
    """What does not agree at this moment."""
    try:
        store = await open_store(lab.etcd_endpoints, timeout_s=STORE_TIMEOUT_S)
    except RomanaError as err:
        return [f"etcd: {err}"]
    try:
        processes = [f"{name} does not run" for name in missing_processes(lab)]
        contents = [*await _store(store, pods), *await _members(lab)]
        return [*processes, *contents, *await _kernels(lab, store), *await _receipts(lab, store)]
    except RomanaError as err:
        return [f"the checks could not be made: {err}"]
    finally:
        await store.close()


async def _attachments(store: Store) -> list[AttachmentRecord]:
    return [codec_address.read_attachment(item) for item in (await store.list(keys.ATTACHMENTS)).items]


async def _store(store: Store, pods: Mapping[str, PodRecord]) -> list[str]:
    """What was answered is there, what was deleted is not, and it is consistent in itself."""
    attachments = await _attachments(store)
    told = {pod.container_id: pod for pod in pods.values()}
    there = {attachment.id.container_id: attachment for attachment in attachments}
    lines = [f"{attachment.id} is in etcd and no pod's" for id_, attachment in there.items() if id_ not in told]
    lines += [f"the attachment of {pod.name} on {pod.node} is not in etcd" for id_, pod in told.items() if id_ not in there]
    for id_ in told.keys() & there.keys():
        given = tuple(str(address.ip) for address in there[id_].addresses)
        if given != told[id_].ips:
            lines.append(f"{told[id_].name} was told {told[id_].ips}, and etcd says {given}")
    return lines + await faults(store)


async def _kernels(lab: LabSpec, store: Store) -> list[str]:
    attachments = await _attachments(store)
    blocks = [codec.read_block(item) for item in (await store.list(keys.BLOCKS)).items]
    lines: list[str] = []
    for node in lab.nodes:
        have = await asyncio.to_thread(kernel.observed, lab, node.name)
        lines += kernel.differences(node.name, kernel.expected(lab, node.name, attachments, blocks), have)
    wanted = {*lab.fixed_netns(), *(pod.netns_name for pod in records(lab))}
    there = kernel.namespaces_of(lab)
    lines += [f"network namespace {name} is left over" for name in sorted(there - wanted)]
    return lines + [f"network namespace {name} is missing" for name in sorted(wanted - there)]


async def _receipts(lab: LabSpec, store: Store) -> list[str]:
    lines = []
    for daemon, prefixes in (("routed", ROUTED_PREFIXES), ("policyd", POLICYD_PREFIXES)):
        newest = await newest_revisions(store, prefixes)
        for node in lab.nodes:
            item = await store.get(keys.receipt(node.name, daemon))
            receipt = Receipt.FromString(item.value) if item else None
            if receipt is None:
                lines.append(f"{daemon} of {node.name} has no receipt")
            elif late := behind(receipt, newest):
                lines.append(f"{daemon} of {node.name} is behind on {', '.join(late)}")
            elif receipt.problems:
                lines.append(f"{daemon} of {node.name}: {'; '.join(problem.text for problem in receipt.problems)}")
    return lines


async def _members(lab: LabSpec) -> list[str]:
    """Every member of etcd, asked alone, holds the same. Receipts change by themselves and are left out."""
    contents = []
    for endpoint in lab.etcd_endpoints:
        store = await open_store([endpoint], timeout_s=STORE_TIMEOUT_S)
        try:
            items = (await store.list("")).items
        finally:
            await store.close()
        contents.append({(item.key, item.mod_revision, item.value) for item in items if not item.key.startswith(keys.RECEIPTS)})
    return [
        f"{member.id} holds other keys than {lab.members[0].id}: {sorted(key for key, *_ in held ^ contents[0])[:5]}"
        for member, held in zip(lab.members, contents, strict=True)
        if held != contents[0]
    ]
