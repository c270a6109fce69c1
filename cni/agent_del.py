"""DEL: remove what there is, have the address given back; nothing there is a success. CNI spec 1.1, section 4 "DEL".

What its answer promises, and what it does not: docs/adr/0016-del-answers-before-ipamd.md.
"""

import asyncio
import logging

from cni.agent_parts import Parts
from cni.agent_recovery import settle_intents
from cni.request import AttachmentId
from cni.wiring import HostEnd
from romana.errors import RomanaError

__all__ = ["delete", "replay_pending"]

log = logging.getLogger(__name__)

REPLAY_S = 2.0
"""How often pending releases are tried; they are rare, and a file listing is cheap."""


async def delete(parts: Parts, attachment: AttachmentId, netns_fd: int | None, started_ns: int) -> dict[str, str]:
    """Leave nothing of the attachment on the node, and owe ipamd its release; returns what was done, for the log.

    The caller holds the attachment. Needs no namespace, no earlier result and no ipamd: the host's end is named by the
    attachment, and takes its peer, routes and neighbours with it; only rules in the pod need its namespace, if it is there
    still. The interface goes first, so that the address is in use no more when it is given back.
    """
    names = parts.names(attachment)
    found = await parts.remove(attachment, netns_fd, started_ns)
    if found is HostEnd.FOREIGN:
        log.warning("interface is not ours, left alone", extra={"interface": names.host_interface})
    parts.release_soon(attachment)
    return {"interface": found.value}


async def replay_pending(parts: Parts) -> None:
    """For ever: give ipamd the releases that it missed, those of ADDs and DELs that an agent died of too.

    One that fails ends the round, as ipamd may be away; it comes last in the next, so that none is in the others' way for ever.
    """
    failed: set[AttachmentId] = set()
    while True:
        await settle_intents(parts)
        waiting = dict.fromkeys((*parts.memory.owed(), *parts.pending.all()))
        failed &= waiting.keys()
        for attachment in sorted(waiting, key=failed.__contains__):  # the oldest first, as before
            if parts.releasing.is_under_way(attachment) or parts.locks.is_held(attachment):
                continue  # a DEL, or an ADD, which releases first
            async with parts.locks.hold(attachment):
                try:
                    await parts.complete(attachment)
                except RomanaError as err:
                    log.info("releases are tried again later", extra={"attachment": str(attachment), "error": str(err)})
                    failed.add(attachment)
                    break
        await asyncio.sleep(REPLAY_S)
