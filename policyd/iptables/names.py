"""Names of our chains and sets. Pure. The groups' ids and the interfaces come from outside: they are checked here.

A group's chain: ROMANA-iG-<id>, eG for egress, iR and eR for the mirrored look-up. Its sets: rom-ip-<id> (peer and port),
rom-in-<id> (peers), rom-ir-<id>-<range>; e for egress, 6 at the end for IPv6.
"""

import re

from policyd.compiled import Direction, Group, RangePeers
from policyd.ipset.model import Family
from romana.errors import InvalidInput
from romana.names import POLICY_CHAIN

__all__ = [
    "CHAIN_PREFIX",
    "ENTRY",
    "group_chain",
    "group_of_chain",
    "group_of_set",
    "is_our_chain",
    "net_set",
    "port_set",
    "range_set",
    "self_set",
    "tree_chain",
]

CHAIN_PREFIX = "ROMANA-"
CHAIN_NAME_MAX = 28  # XT_EXTENSION_MAXNAMELEN less the NUL, linux/netfilter/x_tables.h
ENTRY = POLICY_CHAIN

_GROUP_ID = re.compile(r"[0-9a-f]{10}")
_GROUP_CHAIN = re.compile(CHAIN_PREFIX + r"[ie][GR]-([0-9a-f]{10})")
_GROUP_SET = re.compile(r"rom-[ie][pnr]-([0-9a-f]{10})")
_INITIAL = {Direction.INGRESS: "i", Direction.EGRESS: "e"}


def is_our_chain(name: str) -> bool:
    """True for names that only we give."""
    return name.startswith(CHAIN_PREFIX)


def group_chain(group_id: str, direction: Direction, *, mirrored: bool = False) -> str:
    """The chain with a group's rules; `mirrored` for answers, whose source is the peer's other end."""
    return f"{CHAIN_PREFIX}{_INITIAL[direction]}{'R' if mirrored else 'G'}-{_checked(group_id)}"


def group_of_chain(name: str) -> str:
    """The id of the group whose chain this is; empty for any other chain."""
    found = _GROUP_CHAIN.fullmatch(name)
    return found[1] if found else ""


def group_of_set(name: str) -> str:
    """The id of the group that has this set; empty for any other set."""
    found = _GROUP_SET.match(name)
    return found[1] if found else ""


def tree_chain(root: str, prefix: str) -> str:
    """A node of an interface tree: the root's name and the hex digits that its interfaces have in common."""
    return f"{root}-{prefix}" if prefix else root


def self_set(family: Family) -> str:
    """The set of the addresses of this node's pods, each with its interface: the gate."""
    return f"rom-self{_suffix(family)}"


def port_set(group: Group, family: Family) -> str:
    """The set of a group's peers with ports."""
    return f"rom-{_INITIAL[group.direction]}p-{_checked(group.id)}{_suffix(family)}"


def net_set(group: Group, family: Family) -> str:
    """The set of a group's peers without ports."""
    return f"rom-{_INITIAL[group.direction]}n-{_checked(group.id)}{_suffix(family)}"


def range_set(group: Group, ports: RangePeers, family: Family) -> str:
    """The set of a group's peers for one range of ports; named by the range (protocol and hex), so that it stays the same
    whatever other ranges come and go. Fixed width: no name with the 6 of IPv6 behind it is another's without."""
    span = f"{ports.protocol.name[0].lower()}{ports.first:04x}-{ports.last:04x}"
    return f"rom-{_INITIAL[group.direction]}r-{_checked(group.id)}-{span}{_suffix(family)}"


def _suffix(family: Family) -> str:
    return "6" if family == 6 else ""


def _checked(group_id: str) -> str:
    if not _GROUP_ID.fullmatch(group_id):
        raise InvalidInput(f"{group_id!r} is no id of a group: 10 lower-case hex digits")
    return group_id
