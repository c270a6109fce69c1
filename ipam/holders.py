"""Reads from the store who held an address at a time; decides nothing, see `ipam.holdings`. It only reads."""

from collections.abc import Iterable
from dataclasses import dataclass

from ipam import codec, codec_address
from ipam.holdings import Holding, held_at, kept_from, prefixes_from
from romana import keys
from romana.keys import Address
from romana.store.api import Get, KeyValue, Store

__all__ = ["Holders", "holders_at"]


@dataclass(frozen=True, slots=True)
class Holders:
    """The answer."""

    holdings: tuple[Holding, ...]
    kept_from_ms: int
    """Nobody is known to have held it only from here on; before, records may have gone."""


async def holders_at(store: Store, ip: Address, at_ms: int, now_ms: int) -> Holders:
    """Who held the address then. Raises Unavailable, and FatalError for a topology that this version cannot read."""
    oldest = (await store.txn([], [Get(keys.JOURNAL, prefix=True, limit=1)])).gets[0]
    kept_ms = kept_from(await store.count(keys.JOURNAL), keys.journal_time(oldest[0].key) if oldest else None, now_ms)
    # The living before the past: what is released between is read twice, not missed.
    found = await _living(store, ip)
    for prefix in prefixes_from(at_ms):
        found += _past((await store.list(prefix)).items, ip)
    return Holders(held_at(found, at_ms), kept_ms)


async def _living(store: Store, ip: Address) -> list[Holding]:
    topology = await store.get(keys.TOPOLOGY)
    networks = codec.read_topology(topology).document.networks if topology else ()
    items = [await store.get(keys.address(network.name, ip)) for network in networks if ip in network.cidr]
    records = [codec_address.read_address(item) for item in items if item]
    return [Holding(one.network, one.attachment, one.pod, one.since_ms) for one in records if one.held]


def _past(items: Iterable[KeyValue], ip: Address) -> list[Holding]:
    # The key says whose it is: decoding half a million values takes seconds.
    ours = (item for item in items if item.key.rpartition("/")[2].startswith(f"{ip}-"))
    return [holding for holding, of in map(codec_address.read_journal, ours) if of == str(ip)]
