"""DEL: remove what there is, give the address back; nothing there is a success. CNI spec 1.1, section 4 "DEL"."""

import asyncio
import logging

from cni.agent_parts import Parts
from cni.agent_recovery import settle_intents
from cni.request import AttachmentId
from cni.wiring import HostEnd
from romana.errors import Unavailable

__all__ = ["delete", "replay_pending"]

log = logging.getLogger(__name__)

REPLAY_S = 2.0
"""How often pending releases are tried; they are rare, and a file listing is cheap."""


async def delete(parts: Parts, attachment: AttachmentId, netns_fd: int | None, started_ns: int) -> dict[str, str]:
    """Leave nothing of the attachment; returns what was done, for the log. The caller holds the attachment.

    Needs no namespace, no earlier result and no ipamd: the host's end is named by the attachment, and takes its peer, routes and
    neighbours with it; only rules in the pod need its namespace, if it is there still. The interface goes first, so that the
    address is in use no more when it is given back.
    """
    names = parts.names(attachment)
    found = await parts.remove(attachment, netns_fd, started_ns)
    if found is HostEnd.FOREIGN:
        log.warning("interface is not ours, left alone", extra={"interface": names.host_interface})
    address = await parts.release_or_remember(attachment)
    if parts.memory.is_intended(attachment):
        await parts.blocking(parts.memory.settle, attachment)
    return {"interface": found.value, "address": address}


async def replay_pending(parts: Parts) -> None:
    """For ever: give ipamd the releases that it missed, those of ADDs that an agent died of too."""
    while True:
        await settle_intents(parts)
        for attachment in parts.pending.all():
            async with parts.locks.hold(attachment):
                if not parts.pending.has(attachment):
                    continue
                try:
                    await parts.release(attachment)
                except Unavailable:
                    break
                log.info("pending release is done", extra={"attachment": str(attachment)})
        await asyncio.sleep(REPLAY_S)
