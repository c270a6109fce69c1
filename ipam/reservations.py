"""Reservations of an operator: addresses that nobody gives out as long as they stand.

    written first (from then on no allocation that did not know it succeeds: each compares "no reservation written since")
      ──→ then every address of the network is read: one inside is held ──→ taken back, and refused; none ──→ confirmed

One that is not confirmed (its writer died, or was written late) keeps addresses back all the same; reserving it again goes on
where that one stopped, and releasing it ends it. So nothing is given out between the look and the write, whichever ipamd does it.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from ipam import codec
from ipam.networks import reserved_by_document
from ipam.records import AddressRecord, ReservationRecord
from ipam.state import State
from ipam.table import Row
from romana import keys
from romana.errors import Ambiguous, Conflict, InvalidInput, NotFound, Refused
from romana.keys import Network
from romana.store.api import Compare, Delete, Put, Store

__all__ = ["Reservations"]

log = logging.getLogger(__name__)

NAMED_MAX = 8  # holders that a refusal names


class Reservations:
    """`now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(self, store: Store, state: State, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._state = state
        self._now_ms = now_ms

    async def reserve(self, cidr: Network, note: str) -> tuple[ReservationRecord, int, bool]:
        """Keep the addresses from being given out; the reservation, its revision, and whether it was there already.

        Raises InvalidInput when they are not in one network, Refused while one is held, Unavailable.
        """
        self._state.require_whole()
        record = ReservationRecord(self._network(cidr), cidr, note, self._now_ms())
        key = keys.reservation(record.network, cidr)
        item = await self._store.get(key)
        if item is not None and codec.read_reservation(item).confirmed:
            return codec.read_reservation(item), item.mod_revision, True
        await self._refuse_held(record)  # most refusals end here, with nothing written
        if item is None:
            await self._put([Compare.absent(key)], record)
            item = await self._store.get(key)
        if item is None:
            raise Conflict(f"{cidr} was not reserved: the write was lost, or somebody released it at once; try again")
        await self._state.reload(self._store, keys.RESERVATIONS)  # or our own allocations conflict until the watch tells of it
        try:
            await self._refuse_held(record)
        except Refused:
            await self._store.txn([Compare.unchanged(item)], [Delete(key)])
            raise
        confirmed = replace(codec.read_reservation(item), confirmed=True)
        await self._put([Compare.unchanged(item)], confirmed)
        item = await self._store.get(key)
        if item is None or not codec.read_reservation(item).confirmed:
            raise Conflict(f"{cidr} was not reserved: something else changed meanwhile; try again")
        log.info("addresses reserved", extra={"network": record.network, "cidr": str(cidr), "note": note})
        return confirmed, item.mod_revision, False

    async def _put(self, compares: list[Compare], record: ReservationRecord) -> None:
        """Write it, or not: whoever calls reads back."""
        key = keys.reservation(record.network, record.cidr)
        try:
            await self._store.txn(compares, [Put(key, codec.write_reservation(record))])
        except Ambiguous:
            log.warning("answer of a reservation was lost, reading it back", extra={"key": key})

    async def release(self, cidr: Network) -> tuple[str, int]:
        """End the reservation of just this prefix: its network, and the revision. Raises NotFound when there is none."""
        self._state.require_whole()
        await self._state.reload(self._store, keys.RESERVATIONS)
        rows = self._state.reservations.rows.values()
        found = next((row for row in rows if row.value.cidr == cidr), None)
        if found is None:
            known = ", ".join(str(row.value.cidr) for row in rows) or "none"
            words = f"no reservation is just {cidr}; there are: {known}{self._of_document(cidr)}"
            raise NotFound(words, reason="RESERVATION_UNKNOWN")
        try:
            result = await self._store.txn([], [Delete(found.key)])
        except Ambiguous:
            result = await self._store.txn([], [Delete(found.key)])  # safe to repeat
        self._state.reservations.remove(found.key, result.revision)
        log.info("reservation released", extra={"network": found.value.network, "cidr": str(cidr)})
        return found.value.network, result.revision

    def _of_document(self, cidr: Network) -> str:
        topology = self._state.in_force()
        for network in topology.value.document.networks if topology else ():
            if cidr in reserved_by_document(network):
                return (
                    f". The topology document reserves it (network {network.name}, key reserved): "
                    "take it out there, then romana topology apply"
                )
        return ""

    def _network(self, cidr: Network) -> str:
        networks = self._state.require_topology().document.networks
        for network in networks:
            inside = network.cidr.version == cidr.version and network.cidr.prefixlen <= cidr.prefixlen
            if inside and cidr.network_address in network.cidr:
                return network.name
        there = ", ".join(f"{network.name} {network.cidr}" for network in networks)
        raise InvalidInput(f"{cidr} lies in no network of the topology; there are: {there}", reason="ADDRESS_OUTSIDE")

    async def _refuse_held(self, record: ReservationRecord) -> None:
        await self._state.reload(self._store, keys.ADDRESSES)
        rows = self._state.addresses.rows.values()
        held = [row for row in rows if row.value.held and row.value.ip in record.cidr]
        if held:
            named = ", ".join(map(_named, held[:NAMED_MAX]))
            more = f" and {len(held) - NAMED_MAX} more" if len(held) > NAMED_MAX else ""
            raise Refused(
                f"{record.cidr} cannot be reserved: {len(held)} of its addresses are held: {named}{more}; end these pods first",
                reason="ADDRESSES_HELD",
            )


def _named(row: Row[AddressRecord]) -> str:
    return f"{row.value.ip} by {row.value.pod or row.value.attachment or 'a record that cannot be read'}"
