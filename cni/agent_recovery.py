"""Gives back the addresses of ADDs that an agent died of, or that could not be undone."""

import logging

from cni import plumbing
from cni.agent_parts import Parts
from cni.request import AttachmentId
from cni.wiring import HostEnd
from romana.errors import RomanaError

__all__ = ["settle_intents"]

log = logging.getLogger(__name__)


async def settle_intents(parts: Parts) -> None:
    """Settle every intent that nobody works on; what fails is tried with the next call."""
    for attachment in parts.memory.intents():
        if parts.locks.is_held(attachment):
            continue  # an ADD or a DEL, which settles it
        async with parts.locks.hold(attachment):
            if parts.memory.is_intended(attachment):
                await _settle(parts, attachment)


async def _settle(parts: Parts, attachment: AttachmentId) -> None:
    try:
        if await _is_undone(parts, attachment):
            await parts.blocking(parts.memory.settle, attachment)
    except (RomanaError, OSError) as err:
        log.warning("unfinished ADD cannot be undone yet", extra={"attachment": str(attachment), "error": str(err)})


async def _is_undone(parts: Parts, attachment: AttachmentId) -> bool:
    """Undo an ADD that was not finished; False when its interface is.

    A finished interface without a record is of an ADD that was never answered: the runtime will DEL it, or remove the pod's
    namespace and the interface with it; until then the address is in use.
    """
    names = parts.names(attachment)
    if await parts.blocking(plumbing.find_host_end, names.host_interface, names.alias) is HostEnd.FINISHED:
        return parts.memory.record(attachment) is not None
    await parts.remove(attachment)
    await parts.blocking(parts.pending.add, attachment)
    log.warning("unfinished ADD is undone, its address goes back", extra={"attachment": str(attachment)})
    return True
