"""GC: delete the attachments of a network that the runtime no longer has. CNI spec 1.1, section 4 "GC".

    the agent's records and intents ──┐
    ipamd's list for this node ───────┴─→ of this network, not listed, not being worked on, not new ─→ DEL for each

An attachment whose ADD runs or has just finished may be missing in a list that was made before: it is left to the next GC.
"""

import logging
import time

from cni.agent_del import delete
from cni.agent_parts import Parts
from cni.errors import TRY_AGAIN, CniError
from cni.node_request import NodeRequest, stale
from cni.request import AttachmentId
from romana.errors import RomanaError

__all__ = ["NEW_S", "collect"]

log = logging.getLogger(__name__)

NEW_S = 5.0
"""The runtime makes its list just before the call, and hands an attachment on as soon as ADD has answered."""


async def collect(parts: Parts, request: NodeRequest) -> dict[str, object]:
    """Delete what is stale; goes on over errors and raises CniError 11 with all of them at the end. Returns what the log says."""
    if request.valid is None:
        log.warning("GC without a list of valid attachments: nothing is done", extra={"conf": request.conf.name})
        return {"deleted": 0}
    deleted, failed = 0, []
    for attachment in stale(await _known(parts), request):
        if parts.locks.is_held(attachment) or parts.memory.age_s(attachment, time.monotonic()) < NEW_S:
            continue
        try:
            await _delete(parts, attachment, request)
            deleted += 1
        except RomanaError as err:
            failed.append(f"{attachment}: {err}")
    if failed:
        raise CniError(TRY_AGAIN, f"{len(failed)} stale attachments are left: {'; '.join(failed)}", "the next GC tries again")
    return {"deleted": deleted}


async def _delete(parts: Parts, attachment: AttachmentId, request: NodeRequest) -> None:
    now_ns = time.monotonic_ns()
    async with parts.locks.deleting(attachment, request.started_ns, now_ns):
        done = await delete(parts, attachment, None, request.started_ns or now_ns)
    log.info("stale attachment deleted", extra={"attachment": str(attachment), **done})


async def _known(parts: Parts) -> frozenset[AttachmentId]:
    ours = {record.attachment for record in parts.memory.records()} | set(parts.memory.intents())
    try:
        listed = await parts.ipam.attachments(parts.config.ipam_timeout_s)
    except RomanaError as err:
        log.warning("GC without ipamd's list", extra={"error": str(err)})
        listed = None
    return frozenset(ours | set(listed or ()))
