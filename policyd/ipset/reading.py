"""Sets as they were read, and how they differ from sets as they should be. Pure.

Members are decoded only where their bytes are not those that we would write: a restart compares 200,000 of them in a second.
"""

from dataclasses import dataclass

from policyd.ipset.codec import decode, listed
from policyd.ipset.model import Family, IpSet, Member, SetType
from romana.errors import InvalidInput

__all__ = ["Difference", "ReadSet", "difference"]


@dataclass(frozen=True, slots=True)
class ReadSet:
    """A set that the kernel holds."""

    name: str
    type: SetType
    family: Family
    raw: frozenset[bytes]

    def decoded(self) -> IpSet | None:
        """The set with members; None when it holds something that we never put in."""
        try:
            return IpSet(self.name, self.type, self.family, frozenset(decode(self.type, data) for data in self.raw))
        except (ValueError, KeyError, InvalidInput):
            return None


@dataclass(frozen=True, slots=True)
class Difference:
    """What a set lacks, and what it has too many."""

    more: frozenset[Member]
    less: frozenset[Member]


def difference(wanted: IpSet, present: IpSet | ReadSet) -> Difference | None:
    """None for a set that cannot be repaired member by member: it is of another type, or holds what we never put in."""
    if (wanted.type, wanted.family) != (present.type, present.family):
        return None
    if isinstance(present, ReadSet):
        return _difference_of_bytes(wanted, present)
    if present.content is wanted.content:
        return Difference(frozenset(), frozenset())
    want, have = wanted.members(), present.members()
    return Difference(want - have, have - want)


def _difference_of_bytes(wanted: IpSet, present: ReadSet) -> Difference | None:
    want = {listed(member): member for member in wanted.members()}
    strange = ReadSet(present.name, present.type, present.family, present.raw - want.keys()).decoded()
    if strange is None:
        return None
    other = {listed(member): member for member in strange.members()}  # perhaps only spelt otherwise
    more = frozenset(want[data] for data in want.keys() - present.raw - other.keys())
    return Difference(more, frozenset(other[data] for data in other.keys() - want.keys()))
