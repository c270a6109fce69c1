"""Which of a node's attachments are left over, from what ipamd lists and what the kernel has. Pure.

After a reboot no interface of before is there, so one look is enough. In the same boot an interface may be missing for a moment
that we do not understand: that counts only when it is seen twice, a grace apart. Whoever has an interface is alive.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from cni.request import AttachmentId

__all__ = ["Judgement", "judge_all"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do."""

    stale: tuple[AttachmentId, ...]
    """To be released."""
    suspects: Mapping[AttachmentId, float]
    """To be looked at again: when each was first seen without an interface, monotonic seconds."""


def judge_all(
    listed: Mapping[AttachmentId, str],
    alive: Set[AttachmentId],
    suspects: Mapping[AttachmentId, float],
    *,
    boot_id: str,
    now_s: float,
    grace_s: float,
) -> Judgement:
    """`listed`: the boot in which each attachment was made, empty where nobody knows; `alive`: those with an interface."""
    gone = {attachment: made_in for attachment, made_in in listed.items() if attachment not in alive}
    seen = {attachment: suspects.get(attachment, now_s) for attachment in gone}
    stale = [
        attachment
        for attachment, made_in in gone.items()
        if made_in not in {"", boot_id} or (attachment in suspects and now_s - seen[attachment] >= grace_s)
    ]
    return Judgement(tuple(stale), {attachment: first for attachment, first in seen.items() if attachment not in stale})
