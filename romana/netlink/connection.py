"""A rtnetlink socket: batches of requests in one send, every one acknowledged, and dumps."""

import itertools
import os
import socket
from collections.abc import Sequence
from types import TracebackType

from romana.errors import RomanaError, Unavailable
from romana.netlink.wire import DUMP, DUMP_INTERRUPTED, NLMSG_DONE, NLMSG_ERROR, Failure, Message, Reply, failure, parse_replies

__all__ = ["Connection", "NetlinkError"]

NETLINK_ROUTE = 0  # linux/netlink.h
SOL_NETLINK = 270  # bits/socket.h
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12  # linux/netlink.h

RECEIVE_BYTES = 1 << 18
"""The kernel makes dump messages as large as the reader's buffer, up to 32 KiB (net/netlink/af_netlink.c)."""

TIMEOUT_S = 20.0
"""Something is wrong with the kernel's lock when an answer takes this long."""


DUMP_TRIES = 10


class NetlinkError(RomanaError):
    """The kernel refused a request; `errno` says how."""

    def __init__(self, what: str, outcome: Failure) -> None:
        self.errno = outcome.errno
        words = f" ({outcome.words})" if outcome.words else ""
        super().__init__(f"cannot {what}: {os.strerror(outcome.errno)}{words}")


SUCCESS = Failure(0, "")


class Connection:
    """One socket, of the network namespace that its thread is in when it is made; use it from one thread at a time."""

    ACK_EVERY = False
    """Whether every message of a batch is acknowledged; else the last one is, which tells that the others are through too: the
    kernel works through a batch in order, and tells failures unasked (net/netlink/af_netlink.c, netlink_rcv_skb)."""

    PIECE_MAX = 32
    """Longer batches go in pieces: answers wait in the receive buffer, each charged with some KiB (man 7 netlink, ENOBUFS)."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        except OSError as err:
            raise Unavailable(f"cannot open a rtnetlink socket: {err.strerror}") from err
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.settimeout(TIMEOUT_S)
        self._sequence = itertools.count(1)

    def run(self, *batch: Message) -> list[list[Reply]]:
        """Send all messages at once; what each was answered. Raises the first NetlinkError.

        The kernel works through the whole batch even when a message fails: no message may do harm when an earlier one failed.
        """
        answers, outcomes = self.attempt(*batch)
        for message, outcome in zip(batch, outcomes, strict=True):
            if outcome.errno:
                raise NetlinkError(message.what, outcome)
        return answers

    def attempt(self, *batch: Message) -> tuple[list[list[Reply]], list[Failure]]:
        """As `run`, but failures are returned, one outcome a message, and the caller judges them."""
        answers: list[list[Reply]] = []
        outcomes: list[Failure] = []
        for start in range(0, len(batch), self.PIECE_MAX):
            more_answers, more_outcomes = self._attempt(batch[start : start + self.PIECE_MAX])
            answers += more_answers
            outcomes += more_outcomes
        return answers, outcomes

    def _attempt(self, batch: Sequence[Message]) -> tuple[list[list[Reply]], list[Failure]]:
        numbered = {next(self._sequence): message for message in batch}
        last = len(batch) - 1
        awaited, blob = set(), []
        for place, (number, message) in enumerate(numbered.items()):
            ack = self.ACK_EVERY or place == last
            if ack or message.flags & DUMP == DUMP:  # a dump ends with a message of its own
                awaited.add(number)
            blob.append(message.pack(number, ack=ack))
        answers: dict[int, list[Reply]] = {number: [] for number in numbered}
        outcomes = self._exchange(b"".join(blob), awaited, answers)
        return list(answers.values()), [outcomes.get(number, SUCCESS) for number in numbered]

    def dump(self, message: Message) -> Sequence[Reply]:
        """All that the kernel lists in answer to a dump request; asks again while the list changes under its hands."""
        for _ in range(DUMP_TRIES):
            replies = self.run(message)[0]
            if not any(reply.flags & DUMP_INTERRUPTED for reply in replies):
                return replies
        raise Unavailable(f"cannot {message.what}: it changes faster than the kernel can tell")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _exchange(self, blob: bytes, awaited: set[int], answers: dict[int, list[Reply]]) -> dict[int, Failure]:
        outcomes: dict[int, Failure] = {}
        try:
            self._socket.send(blob)
            while not awaited <= outcomes.keys():
                for reply in parse_replies(self._socket.recv(RECEIVE_BYTES)):
                    if reply.sequence not in answers:
                        continue
                    if reply.kind in {NLMSG_ERROR, NLMSG_DONE}:
                        outcomes[reply.sequence] = failure(reply)
                    else:
                        answers[reply.sequence].append(reply)
        except OSError as err:  # TimeoutError too
            raise Unavailable(f"rtnetlink does not answer: {err}") from err
        return outcomes
