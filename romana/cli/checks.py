"""What `romana status` says of one component."""

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer."""

    id: str
    ok: bool
    evidence: str
    next_step: str = ""
