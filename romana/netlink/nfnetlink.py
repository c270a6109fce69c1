"""A netfilter netlink socket, and long lists of messages sent piece by piece."""

import itertools
import socket
from collections.abc import Iterable, Iterator

from romana.netlink.connection import NETLINK_CAP_ACK, NETLINK_EXT_ACK, SOL_NETLINK, TIMEOUT_S, Connection
from romana.netlink.wire import Message

__all__ = ["NetfilterConnection"]

NETLINK_NETFILTER = 12  # linux/netlink.h

BATCH_BYTES = 128 << 10
"""A send must fit the socket's buffer: 208 KiB unless the machine was told otherwise (man 7 socket, wmem_default)."""
BATCH_MESSAGES = 64
"""Acknowledgements wait in the receive buffer, each charged with about 1 KiB; man 7 netlink, ENOBUFS."""


class NetfilterConnection(Connection):
    """As Connection, for the subsystems of netfilter: ipset, connection tracking, nftables."""

    ACK_EVERY = True  # netfilter's subsystems have handlers of batches of their own (net/netfilter/nfnetlink.c)
    PIECE_MAX = 1 << 20  # a batch of theirs is one; `run_all` makes pieces

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.settimeout(TIMEOUT_S)
        self._sequence = itertools.count(1)

    def run_all(self, messages: Iterable[Message]) -> None:
        """Send any number of messages in order. Raises the first NetlinkError; later pieces are then not sent."""
        for batch in _batches(messages):
            self.run(*batch)


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == BATCH_MESSAGES or size + len(message.payload) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.payload)
    if batch:
        yield batch
