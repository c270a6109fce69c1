"""The epoch: the number in a connection's mark that says under which rules it was last judged. Pure.

Connections of an older epoch are judged anew, packet by packet, until one is allowed and stamped. So nothing is deleted when
a policy is tightened. docs/adr/0005-policy-in-the-kernel.md tells why, and what else was tried.
"""

import re
from collections.abc import Collection

from romana.errors import InvalidInput

__all__ = ["EPOCH_MAX", "FIRST_EPOCH", "MASK", "epoch_in", "epoch_of_mark", "free_epoch", "mark_text"]

SHIFT = 16
MASK = 0xFFFF << SHIFT
"""The upper half of the 32-bit connection mark is ours. The lower half stays free for others (kube-proxy uses packet marks)."""

EPOCH_MAX = 0xFFFF
FIRST_EPOCH = 1  # 0 is the mark of a connection that nobody judged

_STAMP = re.compile(rf"--set-xmark 0x([0-9a-f]+)/{MASK:#x}")


def free_epoch(epoch: int, taken: Collection[int]) -> int | None:
    """The next number after this one that is not taken; after the last comes the first again, never 0. None: all are taken."""
    following = (number % EPOCH_MAX + 1 for number in range(epoch, epoch + EPOCH_MAX))
    return next((number for number in following if number not in taken), None)


def mark_text(epoch: int) -> str:
    """The mark and mask of an epoch as iptables-save writes it."""
    if not FIRST_EPOCH <= epoch <= EPOCH_MAX:
        raise InvalidInput(f"{epoch} is no epoch: {FIRST_EPOCH} to {EPOCH_MAX}")
    return f"{epoch << SHIFT:#x}/{MASK:#x}"


def epoch_of_mark(mark: int) -> int:
    """The epoch in a connection's mark; 0 for none."""
    return (mark & MASK) >> SHIFT


def epoch_in(rule: str) -> int | None:
    """The epoch that a rule, as iptables-save writes it, stamps on connections; None when it stamps none of ours."""
    found = _STAMP.search(rule)
    epoch = epoch_of_mark(int(found[1], 16)) if found else 0
    return epoch or None
