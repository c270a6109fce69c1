"""The filter table as the kernel hands it out, without the extensions' libraries. Pure.

Sources: linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h, linux/netfilter/x_tables.h. iptables-save cannot
print a table in which somebody uses an extension that it does not have; here foreign rules are only stepped over. What changes by
itself (counters, offsets of chains) is left out of a chain's digest, so equal digests mean equal rules.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from policyd.ipset.model import Family
from policyd.iptables.names import is_our_chain

__all__ = ["ForwardRule", "Info", "TableState", "parse_info", "parse_table"]

FORWARD_HOOK = 2  # NF_INET_FORWARD, linux/netfilter.h
ERROR_TARGET = b"ERROR"  # XT_ERROR_TARGET: heads a user's chain and ends the table
STANDARD_TARGET = b""  # XT_STANDARD_TARGET
NAME_BYTES = 32  # XT_TABLE_MAXNAMELEN
INVERTED_IN, INVERTED_OUT = 1, 2  # IPT_INV_VIA_IN, IPT_INV_VIA_OUT
VERDICTS = {-1: "DROP", -2: "ACCEPT", -5: "RETURN"}  # -NF_* - 1; XT_RETURN

_INFO = struct.Struct("=32sI5I5III")  # struct ipt_getinfo: name, hooks, entries, underflows, number of entries, bytes
_TARGET = struct.Struct("=H29sB")  # struct xt_entry_target: size, name, revision


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in struct ipt_entry or ip6t_entry."""

    interfaces: int
    protocol: int
    flags: int
    offsets: int
    comefrom: int
    size: int


_LAYOUT: dict[Family, _Layout] = {
    4: _Layout(interfaces=16, protocol=80, flags=82, offsets=88, comefrom=92, size=112),
    6: _Layout(interfaces=64, protocol=128, flags=131, offsets=140, comefrom=144, size=168),
}


@dataclass(frozen=True, slots=True)
class Info:
    """The table's outline: 4 µs at any size, but blind to an exchange of rules of equal size."""

    forward_start: int
    forward_policy: int
    """Offset of FORWARD's policy, behind its rules."""
    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """A rule of FORWARD, anybody's, as far as it concerns us."""

    in_interface: str
    out_interface: str
    plain: bool
    """No condition but the interfaces."""
    target: str
    """A verdict, a chain, or the name of an extension."""


@dataclass(frozen=True, slots=True)
class TableState:
    """The chains that bear our names, by digest, FORWARD, its policy, and the outline that the table had."""

    chains: Mapping[str, bytes] = field(default_factory=dict)
    forward: tuple[ForwardRule, ...] = ()
    policy: str = "ACCEPT"
    info: Info | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    target_at: int
    end: int
    target: bytes


def parse_info(answer: bytes) -> Info:
    """The answer to IPT_SO_GET_INFO."""
    fields = _INFO.unpack_from(answer)
    return Info(fields[2 + FORWARD_HOOK], fields[7 + FORWARD_HOOK], fields[12], fields[13])


def parse_table(family: Family, info: Info, entries: bytes) -> TableState:
    """The entries of IPT_SO_GET_ENTRIES."""
    layout = _LAYOUT[family]
    found = list(_entries(layout, entries))
    heads = {entry.end: _name(entries, entry) for entry in found if entry.target == ERROR_TARGET}
    forward = [entry for entry in found if info.forward_start <= entry.offset < info.forward_policy]
    policy = next(entry for entry in found if entry.offset == info.forward_policy)
    return TableState(
        _digests(layout, entries, found, heads),
        tuple(_forward_rule(layout, entries, entry, heads) for entry in forward),
        _target(entries, policy, heads),
        info,
    )


def _entries(layout: _Layout, blob: bytes) -> Iterator[_Entry]:
    offset = 0
    while offset < len(blob):
        target_offset, next_offset = struct.unpack_from("=HH", blob, offset + layout.offsets)
        target_at = offset + target_offset
        name = blob[target_at + 2 : target_at + 31].split(b"\0", 1)[0]
        yield _Entry(offset, target_at, offset + next_offset, name)
        offset += next_offset


def _name(blob: bytes, entry: _Entry) -> str:
    return blob[entry.target_at + _TARGET.size : entry.end].split(b"\0", 1)[0].decode("ascii", "replace")


def _digests(layout: _Layout, blob: bytes, found: list[_Entry], heads: dict[int, str]) -> dict[str, bytes]:
    digests: dict[str, bytes] = {}
    name, running = "", hashlib.sha256()
    for entry in found:
        if entry.target == ERROR_TARGET:
            if is_our_chain(name):
                digests[name] = running.digest()
            name, running = _name(blob, entry), hashlib.sha256()
        elif is_our_chain(name):
            running.update(blob[entry.offset : entry.offset + layout.comefrom])
            running.update(blob[entry.offset + layout.size : entry.target_at + _TARGET.size])
            standard = entry.target == STANDARD_TARGET
            running.update(_target(blob, entry, heads).encode() if standard else blob[entry.target_at + _TARGET.size : entry.end])
    return digests


def _target(blob: bytes, entry: _Entry, heads: dict[int, str]) -> str:
    if entry.target != STANDARD_TARGET:
        return entry.target.decode("ascii", "replace")
    verdict = int(struct.unpack_from("=i", blob, entry.target_at + _TARGET.size)[0])
    return VERDICTS.get(verdict, "QUEUE") if verdict < 0 else heads.get(verdict, "")


def _forward_rule(layout: _Layout, blob: bytes, entry: _Entry, heads: dict[int, str]) -> ForwardRule:
    at = entry.offset + layout.interfaces
    names = [blob[at + 16 * index : at + 16 * (index + 1)] for index in range(4)]
    flags, inverted = blob[entry.offset + layout.flags : entry.offset + layout.flags + 2]
    addresses = blob[entry.offset : at]
    protocol = blob[entry.offset + layout.protocol : entry.offset + layout.protocol + 2]
    others = inverted & ~(INVERTED_IN | INVERTED_OUT) or flags
    return ForwardRule(
        _interface(names[0], names[2], negated=bool(inverted & INVERTED_IN)),
        _interface(names[1], names[3], negated=bool(inverted & INVERTED_OUT)),
        not (any(addresses) or any(protocol) or others or entry.target_at - entry.offset != layout.size),
        _target(blob, entry, heads),
    )


def _interface(name: bytes, mask: bytes, *, negated: bool) -> str:
    length = len(mask.rstrip(b"\0"))
    if not length:
        return ""
    given = name[:length]
    text = given.rstrip(b"\0").decode("ascii", "replace") + ("" if given.endswith(b"\0") else "+")
    return f"!{text}" if negated else text
