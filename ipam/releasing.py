"""Takes addresses back: they cool, the attachment and its endpoint go, the journal says who had them; in one transaction."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ipam import codec_address, transactions
from ipam.commit import Committer
from ipam.reads import Reader
from ipam.records import AddressRecord, Assigned, AttachmentId, AttachmentRecord
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict
from romana.store.api import KeyValue
from romana.v1.store_pb2 import Endpoint

__all__ = ["Released", "Releases"]

log = logging.getLogger(__name__)

ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Released:
    """The answer."""

    released: bool
    """False when there was nothing to release."""
    addresses: tuple[Assigned, ...]
    revision: int


class Releases:
    """`now_ms` is the wall clock, milliseconds since 1970.

    `cooldown_s` is how long a released address rests where the network does not say it.
    """

    def __init__(self, reader: Reader, state: State, committer: Committer, now_ms: Callable[[], int], cooldown_s: int) -> None:
        self._reader = reader
        self._state = state
        self._committer = committer
        self._now_ms = now_ms
        self._cooldown_s = cooldown_s

    async def release(self, attachment: AttachmentId) -> Released:
        """Take the attachment's addresses back; durable before it returns. Idempotent.

        An address that another attachment holds by now is left alone. Raises Conflict and Unavailable when it may succeed later.
        """
        self._state.require_whole()
        ours: tuple[Assigned, ...] = ()
        for _ in range(ATTEMPTS):
            revision, found = await self._reader.read(attachment.key)
            item = found[attachment.key]
            if item is None:
                return Released(bool(ours), ours, revision)
            record = codec_address.read_attachment(item)
            try:
                if (written := await self._write(item, record)) is not None:
                    return Released(released=True, addresses=record.addresses, revision=written)
            except Ambiguous:
                ours = record.addresses  # if it is gone when we look again, it went by our hand
        raise Conflict(f"{attachment} could not be released: {ATTEMPTS} times something else changed meanwhile; try again")

    async def _write(self, item: KeyValue, record: AttachmentRecord) -> int | None:
        """The revision of the release; None when something was in the way, which is known now."""
        held = await self._held(record)
        endpoint = await self._endpoint(record)
        txn = transactions.release(item, endpoint, [(row, self._rest_s(row)) for row in held], self._now_ms())
        result = await self._committer.commit(txn)
        if not result.succeeded:
            self._state.learn(txn.reads, result)
            return None
        if log.isEnabledFor(logging.DEBUG):
            fields = {"attachment": str(record.id), "ips": [str(row.value.ip) for row in held]}
            log.debug("addresses released", extra=fields)
        return result.revision

    def _rest_s(self, row: Row[AddressRecord]) -> int:
        topology = self._state.in_force()
        networks = topology.value.document.networks if topology else ()
        said = next((network.cooldown_s for network in networks if network.name == row.value.network), None)
        return self._cooldown_s if said is None else said

    async def _endpoint(self, record: AttachmentRecord) -> KeyValue | None:
        """The attachment's own endpoint: its host interface says whose it is."""
        _, found = await self._reader.read(*record.endpoint_keys)
        ours = record.id.host_interface
        return next((item for item in found.values() if item and Endpoint.FromString(item.value).host_interface == ours), None)

    async def _held(self, record: AttachmentRecord) -> list[Row[AddressRecord]]:
        """The rows of the addresses that the attachment really holds; asks the store where the state does not say so."""
        wanted = [keys.address(address.network, address.ip) for address in record.addresses]
        if not all(self._holds(key, record.id) for key in wanted):
            await self._reader.read(*wanted)
        held = [key for key in wanted if self._holds(key, record.id)]
        for key in wanted:
            if key not in held:
                log.error("address of a released attachment is not held by it; left alone", extra={"key": key})
        return [self._state.addresses.rows[key] for key in held]

    def _holds(self, key: str, attachment: AttachmentId) -> bool:
        row = self._state.addresses.rows.get(key)
        return row is not None and row.value.held and row.value.attachment == attachment
