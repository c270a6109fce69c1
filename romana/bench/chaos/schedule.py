"""Which fault comes next, drawn from a seed. Pure.

The draw repeats with the seed; what the faults meet does not, as the machine's timing is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

__all__ = ["SUPERVISOR", "Fault", "Kind", "next_fault"]


class Kind(Enum):
    """What is done to a process."""

    KILL = "kill -9"
    RESTART = "SIGTERM"
    FREEZE = "SIGSTOP"


SUPERVISOR = "supervisor"
"""SIGTERM tells it to stop for good, as `lab down` does: it is killed instead."""
FROZEN_S = (0.2, 9.0)  # 9 s is longer than any client waits for a frozen peer (7 s), so both sides of that are met
PAUSE_S = (0.05, 2.5)
QUORUM_LOST = 0.1
"""Of the faults of members this share hits two of them at once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One blow."""

    kind: Kind
    victims: tuple[str, ...]
    """Ids of processes of the lab."""
    lasts_s: float
    """How long they stay frozen; 0 for the other kinds."""
    pause_s: float
    """Until the next blow is dealt; a freeze goes on beside it."""


def next_fault(random: Random, daemons: Sequence[str], members: Sequence[str]) -> Fault:
    """Members are hit as often as each kind of daemon is."""
    kind = random.choice(list(Kind))
    of_etcd = bool(members) and random.random() < 0.25
    crowd = members if of_etcd else daemons
    several = of_etcd and len(members) > 2 and random.random() < QUORUM_LOST
    victims = tuple(random.sample(list(crowd), 2 if several else 1))
    if kind is Kind.RESTART and SUPERVISOR in victims:
        kind = Kind.KILL
    lasts_s = random.uniform(*FROZEN_S) if kind is Kind.FREEZE else 0.0
    return Fault(kind, victims, lasts_s, random.uniform(*PAUSE_S))
