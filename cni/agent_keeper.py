"""Keeps host routes and permanent neighbours of this node's finished attachments as ADD made them.

    events of the kernel ──→ loop ──→ observe ──→ plan (cni/repair.py) ──→ add what is missing, under the attachment's lock

What an ADD or a DEL works on is left to it, and looked at again afterwards.
"""

import errno
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from cni import sysctls, wiring
from cni.agent_parts import Parts
from cni.repair import Observed, Repair, plan, subject
from romana.errors import RomanaError, Unavailable
from romana.names import ROUTE_PROTOCOL_AGENT
from romana.netlink import events, ip, links, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.reconcile import Pace, Source, run

__all__ = ["keep"]

log = logging.getLogger(__name__)

RESYNC_S = 60.0
"""Events tell of every loss; this is for those that were lost themselves."""
GATHER_S = 0.02
"""An ADD alone makes a dozen events; a loss is repaired as well a moment later."""
KINDS = (links.RTM_NEWLINK, ip.RTM_DELROUTE, ip.RTM_NEWNEIGH, ip.RTM_DELNEIGH)
GROUPS = events.LINK | events.NEIGH | events.IPV4_ROUTE | events.IPV6_ROUTE


async def keep(parts: Parts) -> None:
    """For ever: put back what is missing."""
    keeper = _Keeper(parts)
    await run("attachments", [Source("kernel", keeper.changes)], keeper.sync, Pace(resync_s=RESYNC_S))


class _Keeper:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def changes(self) -> AsyncIterator[None]:
        """Yields once it is subscribed, then when something of a finished attachment may be lost."""
        knows = self._parts.memory.knows
        async with aclosing(events.watch(GROUPS, KINDS, GATHER_S)) as batches:
            async for batch in batches:
                if batch is None or any(knows(subject(event)) for event in batch):
                    yield

    async def sync(self) -> Mapping[str, object] | None:
        """One pass; raises when something could not be put back yet."""
        records = self._parts.memory.records()  # before the kernel is read: each of these had its interface
        observed = await self._parts.blocking(_observe)
        repairs = plan(records, observed)
        failures = [failure for repair in repairs if (failure := await self._repair(repair))]
        if failures:
            raise Unavailable("; ".join(failures))
        return {"repaired": len(repairs)} if repairs else None

    async def _repair(self, repair: Repair) -> str:
        """Add what is missing, unless the attachment changed since it was observed; returns what failed."""
        record, locks = repair.record, self._parts.locks
        if locks.is_held(record.attachment):
            return f"{record.attachment} is being worked on"
        async with locks.hold(record.attachment):
            if self._parts.memory.record(record.attachment) is record:
                try:
                    await self._parts.blocking(_apply, repair)
                except RomanaError as err:
                    return f"{record.attachment}: {err}"
        return ""


def _observe() -> Observed:
    with Connection() as here:
        routes = [found for family in sysctls.families() for found in queries.routes(here, ROUTE_PROTOCOL_AGENT, family)]
        neighbours = [found for family in sysctls.families() for found in queries.neighbours(here, family)]
        return Observed(
            links={link.name: link for link in queries.links(here)},
            routes={(route.destination.network_address, route.interface) for route in routes},
            neighbours={(found.ip, found.interface, found.mac) for found in neighbours if found.state & ip.PERMANENT},
        )


def _apply(repair: Repair) -> None:
    with Connection() as here:
        added = [message.what for message in repair.neighbours if here.run(message)]
        added += [f"add route {address}" for address in repair.routes if _add_route(here, address, repair)]
    if added:
        log.warning("what was missing is put back", extra={"attachment": str(repair.record.attachment), "done": added})


def _add_route(here: Connection, address: ip.IPAddress, repair: Repair) -> bool:
    """False when a route of somebody else's stands there, which stays."""
    try:
        here.run(wiring.host_route(address, repair.index))
    except NetlinkError as err:
        if err.errno != errno.EEXIST:
            raise
        standing = queries.find_route(here, address)
        if standing is None or standing.interface != repair.index:
            text = "a foreign route stands where the host route was"
            log.warning(text, extra={"attachment": str(repair.record.attachment), "address": str(address)})
        return False
    return True
