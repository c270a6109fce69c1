"""The sets of this network namespace, in the kernel. Blocking; use it from one thread at a time.

What the kernel refuses is raised as Unavailable: the caller cannot know what was done of it, and reads again.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from policyd.ipset import wire
from policyd.ipset.model import Family, Header, IpSet, Member, SetType, is_ours
from policyd.ipset.reading import ReadSet
from romana.errors import FatalError, Unavailable
from romana.netlink.connection import NetlinkError
from romana.netlink.nfnetlink import NetfilterConnection
from romana.netlink.wire import Message

__all__ = ["Sets"]

SPARE = "rom-spare"
"""Filled in the place of a set that cannot be repaired member by member, then swapped with it."""

IPSET_ERR_BUSY = 4100  # linux/netfilter/ipset/ip_set.h: a rule uses the set

_TYPES = frozenset(kind.value for kind in SetType)

FAMILIES: tuple[Family, Family] = (4, 6)


class Sets:
    """One netlink socket of the network namespace that its thread is in when it is made."""

    def __init__(self) -> None:
        self._connection = NetfilterConnection()
        self._revisions: dict[tuple[SetType, Family], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the sets stay."""
        self._connection.close()

    def headers(self) -> Mapping[str, Header]:
        """Our sets by name, without members."""
        with _refusals():
            found = [wire.parse_header(reply) for reply in self._connection.dump(wire.list_headers())]
        return {header.name: header for header in found if header is not None and is_ours(header.name)}

    def read(self, header: Header) -> ReadSet | None:
        """A set with its members; None when it is of no type of ours."""
        if header.type not in _TYPES:
            return None
        with _refusals():
            replies = self._connection.dump(wire.list_members(header.name, header.family))
        return ReadSet(header.name, SetType(header.type), header.family, wire.parse_members(replies))

    def create(self, wanted: IpSet, members: frozenset[Member]) -> None:
        """Make a set with these members; one that is there keeps what it has besides."""
        with _refusals():
            self._connection.run(self._create(wanted, len(members)))
        self.add(wanted, members)

    def add(self, wanted: IpSet, members: Iterable[Member]) -> None:
        """Put members in; those that are there already are fine."""
        with _refusals():
            self._connection.run_all(wire.add(wanted.name, wanted.family, members))

    def delete(self, wanted: IpSet, members: Iterable[Member]) -> None:
        """Take members out; those that are not there are fine."""
        with _refusals():
            self._connection.run_all(wire.delete(wanted.name, wanted.family, members))

    def replace(self, wanted: IpSet, members: frozenset[Member]) -> None:
        """Give a set exactly these members at one stroke, whatever it had."""
        spare = IpSet(SPARE, wanted.type, wanted.family, ())
        self.destroy([spare.name])
        self.create(spare, members)
        with _refusals():
            self._connection.run(wire.swap(spare.name, wanted.name, wanted.family))
        self.destroy([spare.name])

    def destroy(self, names: Iterable[str]) -> None:
        """Remove sets; those that are gone are fine, and one that a foreign rule uses stays."""
        for name in names:
            with _refusals(errno.ENOENT, IPSET_ERR_BUSY):
                self._connection.run(wire.destroy(name, 4))

    def require(self) -> None:
        """Raise FatalError when the kernel lacks a type that we use."""
        for kind in SetType:
            for family in FAMILIES:
                self._revision(kind, family)

    def _create(self, wanted: IpSet, size: int) -> Message:
        return wire.create(wanted, size, self._revision(wanted.type, wanted.family))

    def _revision(self, kind: SetType, family: Family) -> int:
        if (kind, family) not in self._revisions:
            try:
                reply = self._connection.run(wire.probe(kind, family))[0][0]
            except NetlinkError as err:
                raise FatalError(f"this kernel has no sets of type {kind.value} for IPv{family}: {err}") from err
            self._revisions[kind, family] = wire.parse_revision(reply)
        return self._revisions[kind, family]


@contextmanager
def _refusals(*fine: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as err:
        if err.errno not in fine:
            raise Unavailable(str(err)) from err
