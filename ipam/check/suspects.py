"""Finds what is worth a closer look without holding the whole store in memory: one node, one namespace at a time.

    addresses, nodes (ipam.state, in memory anyway) ─┐
    attachments, node after node ────────────────────┼─→ keys that may be wrong ─→ each with what is around it, at one revision
    endpoints, namespace after namespace ────────────┘                             (decided by ipam.check.decision)

The lists are of different revisions, so a suspect may be none; one that is missed is seen in the next round. Costs one list for
each node and namespace; memory for a name of 15 letters for each attachment.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from ipam.check.reading import read_address, read_attachment, read_endpoint, snapshot_of
from ipam.check.snapshot import EndpointRecord, Snapshot
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, PodId, address_key, block_key
from ipam.state import State
from romana import keys
from romana.store.api import Get, KeyValue, Store

__all__ = ["SUSPECTS_MAX", "Suspect", "Suspects"]

SUSPECTS_MAX = 1000  # in one round; the rest in the next
CHUNK = 1000  # rows that are looked at before others get their turn


@dataclass(frozen=True, slots=True)
class Suspect:
    """Keys that may be wrong, and what is around them; of what else is in it not all is known."""

    subjects: frozenset[str]
    snapshot: Snapshot


class Suspects:
    """One round; `state` must be whole. `boot_id` says in which boot a node is, as far as its agent said; else empty."""

    def __init__(self, store: Store, state: State, boot_id: Callable[[str], str]) -> None:
        self._store = store
        self._state = state
        self._boot_id = boot_id
        self._interfaces: set[str] = set()
        self._claims: dict[str, list[str]] = {}
        """By key of an address, the attachments that say that they have it, where its record does not say so."""
        self._found: dict[str, None] = {}

    async def find(self) -> list[Suspect]:
        """At most SUSPECTS_MAX. Raises Unavailable."""
        names, namespaces = await self._names()
        for node in sorted(names):
            await self._attachments(node)
        await self._addresses()
        if without := self._interfaces - await self._endpoints(namespaces):
            await self._without_endpoint(without)
        found = list(islice(self._found, SUSPECTS_MAX))
        return [suspect for key in found if (suspect := await self._around(key)) is not None]

    async def _names(self) -> tuple[set[str], set[str]]:
        """Nodes that are there or hold something, and namespaces that an address was given to."""
        names, namespaces = set(self._state.node_names()), {keys.ANONYMOUS}
        async for record in self._records():
            if record.attachment is not None:
                names.add(record.attachment.node)
            if record.pod is not None and record.pod.namespace:
                namespaces.add(record.pod.namespace)
        return names, namespaces

    async def _records(self) -> AsyncIterator[AddressRecord]:
        rows = list(self._state.addresses.rows.values())
        for start in range(0, len(rows), CHUNK):
            for row in rows[start : start + CHUNK]:
                yield row.value
            await asyncio.sleep(0)

    async def _attachments(self, node: str) -> None:
        known = self._state.node(node)
        for item in (await self._store.list(f"{keys.ATTACHMENTS}{node}/")).items:
            record = read_attachment(item)
            if record is None:
                continue  # of those that cannot be read nothing is decided
            self._interfaces.add(record.id.host_interface)
            if known is None or record.node_uid not in {"", known.value.uid}:
                self._found[item.key] = None
            for assigned in record.addresses:
                row = self._state.addresses.rows.get(key := address_key(assigned.network, assigned.ip))
                if row is None or not row.value.held or row.value.attachment != record.id:
                    self._claims.setdefault(key, []).append(item.key)
                    self._found[item.key] = None
            boot_id = self._boot_id(node)
            if boot_id and record.boot_id not in {"", boot_id}:
                self._found[item.key] = None

    async def _addresses(self) -> None:
        """Held by an attachment that no node has; all attachments were seen by now, but for new ones."""
        async for record in self._records():
            if record.held and record.attachment is not None and record.attachment.host_interface not in self._interfaces:
                self._found[address_key(record.network, record.ip)] = None

    async def _endpoints(self, namespaces: set[str]) -> set[str]:
        """The host interfaces of endpoints; those that no attachment has are suspects."""
        seen = set()
        for namespace in sorted(namespaces):
            for item in (await self._store.list(f"{keys.ENDPOINTS}{namespace}/")).items:
                endpoint = read_endpoint(item)
                if endpoint.host_interface not in self._interfaces or endpoint.host_interface in seen:
                    self._found[item.key] = None
                seen.add(endpoint.host_interface)
        return seen

    async def _without_endpoint(self, interfaces: set[str]) -> None:
        async for record in self._records():
            if record.held and record.attachment is not None and record.attachment.host_interface in interfaces:
                self._found[record.attachment.key] = None

    async def _around(self, key: str) -> Suspect | None:
        """What there is around a suspect, at one revision; None when it is gone."""
        item = await self._store.get(key)
        if item is None:
            return None
        if key.startswith(keys.ENDPOINTS):
            return await self._around_endpoint(key, read_endpoint(item))
        if key.startswith(keys.ADDRESSES):
            record = read_address(item)
            names = _around(record.attachment, record.pod) if record.attachment else []
            return Suspect(frozenset({key}), await self._read([key, *names, *self._claims.get(key, ())]))
        attachment = read_attachment(item)
        return Suspect(frozenset({key}), await self._read([key, *self._around_attachment(attachment)])) if attachment else None

    async def _around_endpoint(self, key: str, endpoint: EndpointRecord) -> Suspect | None:
        """With the other endpoint of the same attachment, where there are two."""
        if not endpoint.node or "/" in endpoint.node:
            return None  # it cannot be read
        items = (await self._store.list(f"{keys.ATTACHMENTS}{endpoint.node}/")).items  # first: see ipam.check.repairs.around
        records = [record for item in items if (record := read_attachment(item)) is not None]
        owner = next((record for record in records if record.id.host_interface == endpoint.host_interface), None)
        names = [key, *(owner.endpoint_keys if owner else ())]
        return Suspect(frozenset(names), await self._read([*names, keys.node(endpoint.node)], items))

    def _around_attachment(self, record: AttachmentRecord) -> list[str]:
        names = [*_around(record.id, record.pod), *record.endpoint_keys]
        for assigned in record.addresses:
            address = address_key(assigned.network, assigned.ip)
            names += [address, block_key(assigned.network, assigned.block), *self._claims.get(address, ())]
        return names

    async def _read(self, names: Sequence[str], items: Sequence[KeyValue] = ()) -> Snapshot:
        result = await self._store.txn([], [Get(name) for name in dict.fromkeys([keys.TOPOLOGY, *names])])
        found = {item.key: item for item in items} | {item.key: item for group in result.gets for item in group}
        return snapshot_of(found.values(), result.revision)


def _around(attachment: AttachmentId, pod: PodId | None) -> list[str]:
    """The keys that say whether it lives, and its own."""
    names = [attachment.key, keys.node(attachment.node)]
    return [*names, keys.pod(pod.namespace, pod.name)] if pod else names
