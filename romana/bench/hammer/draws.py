"""What a client, or the admin, does next, drawn from a seed. Pure."""

from dataclasses import dataclass
from enum import Enum
from random import Random

from romana.bench.hammer.world import FIXED, PODS_EACH, TENANTS, Variant

__all__ = ["Act", "AdminAct", "AdminKind", "Kind", "next_act", "next_admin_act"]


class Kind(Enum):
    """What a client does."""

    ALLOCATE = "allocate"
    ALLOCATE_BATCH = "allocate a batch"
    FIXED = "allocate a fixed address"
    TWICE = "allocate from two ipamd at once"
    AGAIN = "allocate what was released before"
    THROWN_AWAY = "allocate, and not wait for the answer"
    REPEAT = "repeat an allocation"
    RELEASE = "release"
    RELEASE_BATCH = "release a batch"
    RELEASE_THROWN_AWAY = "release, and not wait for the answer"
    RELEASE_AGAIN = "release what is released"
    OLD_UID = "allocate as an incarnation that is no more"
    BAD = "a request that cannot be"


WEIGHTS = {
    Kind.ALLOCATE: 20, Kind.ALLOCATE_BATCH: 9, Kind.FIXED: 4, Kind.TWICE: 4, Kind.AGAIN: 4, Kind.THROWN_AWAY: 4, Kind.REPEAT: 12,
    Kind.RELEASE: 20, Kind.RELEASE_BATCH: 8, Kind.RELEASE_THROWN_AWAY: 3, Kind.RELEASE_AGAIN: 3, Kind.OLD_UID: 3, Kind.BAD: 3,
}  # fmt: skip
RELEASING = (Kind.RELEASE, Kind.RELEASE_BATCH, Kind.RELEASE_THROWN_AWAY)
TIMEOUTS_S = (1.0, 5.0, 15.0)
FENCED = 0.7
"""Share of requests that name the node's uid; the others are served for whoever has the name."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a client; who needs which part of it says `Kind`."""

    kind: Kind
    size: int
    node: int
    tenant: str
    pod: int
    fixed: int
    ipamd: int
    fenced: bool
    timeout_s: float
    patience_s: float
    """After it an answer is thrown away."""


class AdminKind(Enum):
    """What the admin does."""

    RECREATE = "a node is removed by force and comes back under its name"
    REMOVE = "a node is removed if nothing runs on it"
    DRAIN = "a node drains for a while"
    RELABEL = "a label of a node changes"
    APPLY = "a topology is applied"
    RESERVE = "addresses are reserved"
    RELEASE_RESERVATION = "a reservation ends"


@dataclass(frozen=True, slots=True)
class AdminAct:
    """One act of the admin."""

    kind: AdminKind
    node: int
    ipamd: int
    variant: Variant
    reservation: int
    lasts_s: float
    pause_s: float


def next_act(random: Random, nodes: int, ipamds: int, batch: int, *, full: bool) -> Act:
    """One act, of `batch` requests at most; when `full`, one that releases."""
    kinds = RELEASING if full else tuple(WEIGHTS)
    kind = random.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return Act(
        kind,
        size=random.randint(1, batch),
        node=random.randrange(nodes),
        tenant=random.choice(TENANTS),
        pod=random.randrange(PODS_EACH),
        fixed=random.randrange(FIXED),
        ipamd=random.randrange(ipamds),
        fenced=random.random() < FENCED,
        timeout_s=random.choice(TIMEOUTS_S),
        patience_s=random.uniform(0.0, 0.3),
    )


def next_admin_act(random: Random, nodes: int, ipamds: int) -> AdminAct:
    """One act."""
    variant = Variant(
        fourth_rack=random.random() < 0.5,
        extra=random.random() < 0.5,
        reserved=random.choice((0, 0, 4, 8)),
        tight_mask=random.choice((29, 29, 29, 30)),
    )
    return AdminAct(
        random.choice(list(AdminKind)),
        node=random.randrange(nodes),
        ipamd=random.randrange(ipamds),
        variant=variant,
        reservation=random.randrange(24),
        lasts_s=random.uniform(0.0, 2.0),
        pause_s=random.uniform(0.05, 1.0),
    )
