"""What one family's table and sets hold of ours. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policyd.compiled import Address
from policyd.ipset.model import IpSet, Member
from policyd.ipset.reading import ReadSet
from policyd.iptables.blob import ForwardRule

__all__ = ["Observed"]


@dataclass(frozen=True, slots=True)
class Observed:
    """What one family's table and sets hold of ours."""

    chains: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """Rules as iptables-save writes them; None for a chain that somebody else has changed."""
    forward: tuple[ForwardRule, ...] = ()
    sets: Mapping[str, IpSet | ReadSet | None] = field(default_factory=dict)
    """The gate too; None for a set of no type of ours."""
    interfaces: frozenset[str] = frozenset()
    """Host interfaces of pods that are there."""
    used: frozenset[Address] | None = frozenset()
    """Addresses that left the gate since the last bump: connections of their former pods may live. None: not known."""

    def members(self, name: str) -> frozenset[Member]:
        """The members of a set; none when it is not there or not known."""
        found = self.sets.get(name)
        known = found.decoded() if isinstance(found, ReadSet) else found
        return frozenset() if known is None else known.members()
