"""What a renderer tells the daemon after an apply. Pure."""

from dataclasses import dataclass

__all__ = ["Applied", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the operator should know; a stable code, and words that name what was found."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The kernel holds what was wanted."""

    changed: bool
    """Anything had to be done."""
    bumped: bool
    """Connections are being judged anew."""
    problems: tuple[Problem, ...] = ()
    rules: int = 0
    """Of ours in the kernel, all chains and both families."""
    sets: int = 0
