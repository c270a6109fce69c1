"""Which process is hurt next, and how, drawn from a seed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

__all__ = ["Blow", "Kind", "next_blow"]


class Kind(Enum):
    """What is done."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    COMPACT = "compaction"


PAUSE_MIN_S = 0.1
DOWN_S = (0.0, 3.0)
"""Until a killed one is started again."""
FROZEN_S = (0.2, 9.0)  # 9 s is longer than any client waits for a frozen peer (7 s), so both sides of that are met
KINDS = (Kind.KILL, Kind.KILL, Kind.FREEZE, Kind.FREEZE, Kind.COMPACT)
SEVERAL = 0.1
"""Of the blows at processes this share hits two of a kind at once: of three members, that costs the quorum."""
KEPT = (0, 0, 20, 500)
"""Revisions that a compaction leaves before the newest that the checker has seen."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One blow."""

    kind: Kind
    victims: tuple[str, ...]
    """Names of processes; none for a compaction."""
    lasts_s: float
    """How long they are down or frozen; the next blow does not wait for it."""
    pause_s: float
    kept: int = 0
    """Of a compaction."""


def next_blow(random: Random, crowds: Sequence[Sequence[str]], pause_max_s: float) -> Blow:
    """One at one of the crowds (all ipamd, all members), each as likely as the other."""
    kind, pause_s = random.choice(KINDS), random.uniform(PAUSE_MIN_S, max(pause_max_s, PAUSE_MIN_S))
    crowd = random.choice(list(crowds))
    count = 2 if random.random() < SEVERAL and len(crowd) > 2 else 1
    victims = tuple(random.sample(list(crowd), count))
    lasts_s = random.uniform(*(FROZEN_S if kind is Kind.FREEZE else DOWN_S))
    if kind is Kind.COMPACT:
        return Blow(kind, (), 0.0, pause_s, random.choice(KEPT))
    return Blow(kind, victims, lasts_s, pause_s)
