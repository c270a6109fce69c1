"""STATUS: whether this node can serve ADD. CNI spec 1.1, section 4 "STATUS".

A runtime that hears a failure reports the node NotReady, and after five minutes its healthy pods are evicted. So by default only
what is wrong with this node itself fails; an ipamd or a policyd that is away, or a pool that is used up, fails the ADDs (11, 100)
and is shown by `romana status`. `agent.status_strict` gives the specification's letter: whatever would fail an ADD fails this.
"""

import asyncio
import time

from cni.agent_ipam import NodeUnknown
from cni.agent_parts import Parts
from cni.errors import NOT_AVAILABLE, CniError
from romana.errors import RomanaError, Unavailable

__all__ = ["EXHAUSTED_S", "status"]

ASK_S = 0.4
"""The runtime asks every few seconds and waits for it; a second in all."""
EXHAUSTED_S = 30.0
"""How long an ADD that found no address speaks for the pool; the next ADD tells anew."""


async def status(parts: Parts) -> None:
    """Raises CniError 50 with everything that stands against an ADD."""
    against = await asyncio.gather(_ipamd(parts), _policyd(parts))
    found = [reason for reason in (*against, _pool(parts)) if reason]
    if found:
        raise CniError(NOT_AVAILABLE, "; ".join(found), "romana status tells more")


async def _ipamd(parts: Parts) -> str:
    try:
        async with asyncio.timeout(ASK_S):
            await parts.ipam.identity(ASK_S, anew=parts.config.status_strict)
    except NodeUnknown as err:
        return f"{err}; add it: romana node add"
    except (RomanaError, TimeoutError) as err:
        return f"ipamd does not answer: {err or 'in time'}" if parts.config.status_strict else ""
    return ""


async def _policyd(parts: Parts) -> str:
    if not parts.config.status_strict or not parts.policy.is_required:
        return ""
    try:
        await parts.policy.serves(ASK_S)
    except Unavailable as err:
        return str(err)
    return ""


def _pool(parts: Parts) -> str:
    if not parts.config.status_strict or time.monotonic() - parts.exhausted.at > EXHAUSTED_S:
        return ""
    return f"no address was left for the last ADD: {parts.exhausted.reason}"
