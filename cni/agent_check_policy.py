"""Whether policy still stands for an attachment: what policyd of this node says, and what leads to its chains in the kernel.

A policyd that is away is no difference: its rules stay, and a pod that works must not be killed because a daemon restarts. That
nothing leads to its chains any more is one, whatever it says: then the kernel enforces nothing.
"""

import asyncio
import contextlib
import logging

from cni.agent_parts import Parts
from cni.request import AttachmentId
from romana.errors import Unavailable
from romana.names import POLICY_CHAIN

__all__ = ["policy_differences"]

log = logging.getLogger(__name__)

ASK_S = 1.0
LOOK_S = 2.0
COMMAND = ("iptables-legacy", "-w", "1", "-t", "filter", "-S", "FORWARD")


async def policy_differences(parts: Parts, attachment: AttachmentId) -> list[str]:
    """Every difference; none where policy is not required."""
    if not parts.policy.is_required:
        return []
    found = await asyncio.gather(_said_by_policyd(parts, attachment), _seen_in_kernel())
    return [difference for difference in found if difference]


async def _said_by_policyd(parts: Parts, attachment: AttachmentId) -> str:
    try:
        reason = await parts.policy.missing(attachment, ASK_S)
    except Unavailable as err:
        log.warning("policy is not checked", extra={"attachment": str(attachment), "error": str(err)})
        return ""
    return f"policy is not in force: {reason}" if reason else ""


async def _seen_in_kernel() -> str:
    try:
        rules = await _rules()
    except (OSError, TimeoutError) as err:
        log.warning("rules of policy are not checked", extra={"command": " ".join(COMMAND), "error": str(err)})
        return ""
    leads = any(rule.endswith(f"-j {POLICY_CHAIN}") for rule in rules)
    return "" if leads or not rules else f"no rule of chain FORWARD leads to {POLICY_CHAIN}: policy is not enforced on this node"


async def _rules() -> list[str]:
    """The rules of FORWARD, the policy of the chain first; none when the program fails. Raises OSError and TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(LOOK_S):
            output, _ = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return output.decode(errors="replace").splitlines() if process.returncode == 0 else []
