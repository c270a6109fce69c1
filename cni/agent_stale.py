"""Gives back the addresses of attachments whose interface is gone: after a reboot, or when a runtime forgot its DEL.

ipamd's list is what counts; an ipamd that has no such call is replaced by the agent's own records.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from cni import plumbing
from cni.agent_parts import Parts
from cni.request import AttachmentId
from cni.stale import judge_all
from cni.wiring import HostEnd
from romana.errors import RomanaError
from romana.netlink import queries
from romana.netlink.connection import Connection

__all__ = ["release_stale"]

log = logging.getLogger(__name__)

ROUND_S = 30.0
"""How often to look; twice the grace at most, or a third look would be needed."""


async def release_stale(parts: Parts) -> None:
    """For ever: look, and release what is stale. What fails is tried in the next round."""
    suspects: Mapping[AttachmentId, float] = {}
    grace_s = parts.config.stale_after_s
    while True:
        try:
            listed = await _listed(parts)
            alive = await parts.blocking(_alive, parts, list(listed))
            verdict = judge_all(listed, alive, suspects, boot_id=parts.ipam.boot_id, now_s=time.monotonic(), grace_s=grace_s)
            suspects = verdict.suspects
            for attachment in verdict.stale:
                await _release(parts, attachment)
        except RomanaError as err:
            log.info("stale attachments are looked for later", extra={"error": str(err)})
        await asyncio.sleep(min(ROUND_S, grace_s))


async def _listed(parts: Parts) -> Mapping[AttachmentId, str]:
    recorded = {record.attachment: record.boot_id for record in parts.memory.records()}
    listed = await parts.ipam.attachments(parts.config.ipam_timeout_s)
    return recorded if listed is None else recorded | dict(listed)


def _alive(parts: Parts, attachments: list[AttachmentId]) -> set[AttachmentId]:
    """Those with an interface, and those that a call works on."""
    with Connection() as here:
        names = {link.name for link in queries.links(here)}
    return {key for key in attachments if parts.names(key).host_interface in names or parts.locks.is_held(key)}


async def _release(parts: Parts, attachment: AttachmentId) -> None:
    if parts.locks.is_held(attachment):
        return
    async with parts.locks.hold(attachment):
        names = parts.names(attachment)
        if await parts.blocking(plumbing.find_host_end, names.host_interface, names.alias) is not HostEnd.ABSENT:
            return
        await parts.blocking(parts.memory.forget, attachment)
        outcome = await parts.release_or_remember(attachment)
    log.warning("attachment without an interface is given back", extra={"attachment": str(attachment), "address": outcome})
