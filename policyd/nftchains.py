"""Chains of nftables, anybody's, that drop forwarded packets unless a rule of theirs accepts them.

A packet passes both back ends: an ACCEPT of ours in legacy tables does not override such a chain (`iptables-nft -P FORWARD DROP`,
as Docker sets it on Debian, is one). Source: linux/netfilter/nf_tables.h.
"""

import errno
from collections.abc import Iterator, Sequence

from romana.errors import Unavailable
from romana.netlink.connection import NetlinkError
from romana.netlink.nfnetlink import NetfilterConnection
from romana.netlink.wire import DUMP, Message, Reply, parse_attributes

__all__ = ["dropping_chains"]

GET_CHAIN = 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN
NFGEN_ANY = bytes(4)  # struct nfgenmsg: NFPROTO_UNSPEC
TABLE, NAME, HOOK, POLICY = 1, 3, 4, 5  # NFTA_CHAIN_*
HOOK_NUMBER = 1  # NFTA_HOOK_HOOKNUM
FORWARD, DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*
ABSENT = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT}  # a kernel without nftables


def dropping_chains() -> tuple[str, ...]:
    """As `ip filter FORWARD`: family, table and chain of each in this network namespace."""
    try:
        with NetfilterConnection() as connection:
            return tuple(_dropping(connection.dump(Message("list nftables' chains", GET_CHAIN, DUMP, NFGEN_ANY))))
    except NetlinkError as err:
        if err.errno in ABSENT:
            return ()
        raise Unavailable(str(err)) from err


def _dropping(replies: Sequence[Reply]) -> Iterator[str]:
    for reply in replies:
        found = parse_attributes(reply.payload[len(NFGEN_ANY) :])
        hook = parse_attributes(found.get(HOOK, b"")).get(HOOK_NUMBER, b"")
        if (_number(hook), _number(found.get(POLICY, b""))) == (FORWARD, DROP) and reply.payload[0] in FAMILIES:
            yield f"{FAMILIES[reply.payload[0]]} {_text(found[TABLE])} {_text(found[NAME])}"


def _number(value: bytes) -> int | None:
    return int.from_bytes(value) if value else None


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
