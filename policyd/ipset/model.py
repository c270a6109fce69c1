"""What a set is: its name, type, family and members. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from policyd.compiled import Address, Network, PortPeers
from romana.errors import InvalidInput

__all__ = ["Family", "Header", "IpSet", "Member", "SetType", "Station", "family_of", "is_ours"]

Family: TypeAlias = Literal[4, 6]

PREFIX = "rom-"
NAME_MAX = 31  # IPSET_MAXNAMELEN less the NUL, linux/netfilter/ipset/ip_set.h
_NAME = re.compile(r"rom-[a-z0-9-]+")
_INTERFACE = re.compile(r"rom[0-9a-f]{1,12}")


class SetType(Enum):
    """The set types that we use, by their names in the kernel."""

    NET = "hash:net"
    NET_PORT = "hash:net,port"
    NET_IFACE = "hash:net,iface"


@dataclass(frozen=True, slots=True, order=True)
class Station:
    """An address that may be used on one interface only."""

    address: Address
    interface: str

    def __post_init__(self) -> None:
        """Refuse a name that is no host interface of ours: it goes into rules."""
        if not _INTERFACE.fullmatch(self.interface):
            raise InvalidInput(f"{self.interface!r} is no host interface of ours: rom and up to 12 hex digits")


Member: TypeAlias = Network | PortPeers | Station


@dataclass(frozen=True, slots=True)
class IpSet:
    """A set as it should be. `content` may hold both families: only members of `family` count."""

    name: str
    type: SetType
    family: Family
    content: Collection[Member]

    def __post_init__(self) -> None:
        """Refuse a name that the kernel or a rule could not carry."""
        if len(self.name) > NAME_MAX or not _NAME.fullmatch(self.name):
            raise InvalidInput(f"{self.name!r} is no name of a set of ours")

    def members(self) -> frozenset[Member]:
        """The members of the set's own family."""
        if isinstance(self.content, frozenset) and all(family_of(member) == self.family for member in self.content):
            return self.content  # as it is: hashing 200,000 members anew takes a quarter of a second
        return frozenset(member for member in self.content if family_of(member) == self.family)


@dataclass(frozen=True, slots=True)
class Header:
    """What the kernel says of a set without its members."""

    name: str
    type: str
    family: Family
    entries: int
    references: int


def family_of(member: Member) -> int:
    """4 or 6."""
    if isinstance(member, PortPeers):
        return member.peer.version
    return member.address.version if isinstance(member, Station) else member.version


def is_ours(name: str) -> bool:
    """True for names that only we give."""
    return name.startswith(PREFIX)
