"""Netlink messages as bytes and back. Pure.

Layouts: man 7 netlink, man 3 netlink, man 7 rtnetlink, linux/netlink.h, linux/rtnetlink.h. Integers are in the order of the
machine unless an attribute says otherwise.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "ACK",
    "AF_INET",
    "AF_INET6",
    "AF_UNSPEC",
    "CREATE",
    "DUMP",
    "DUMP_INTERRUPTED",
    "EXCL",
    "REPLACE",
    "REQUEST",
    "Failure",
    "Message",
    "Reply",
    "attribute",
    "failure",
    "parse_attributes",
    "parse_replies",
    "text",
    "u32",
]

# linux/netlink.h: nlmsg_flags
REQUEST = 0x01
ACK = 0x04
DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
REPLACE = 0x100
EXCL = 0x200
CREATE = 0x400

DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR, on an answer: what is listed changed meanwhile
CAPPED = 0x100  # NLM_F_CAPPED, on an acknowledgement: the request is not echoed behind the errno
ACK_TLVS = 0x200  # NLM_F_ACK_TLVS, on an acknowledgement: attributes follow

# linux/netlink.h: control messages
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1

# bits/socket.h; the socket module is not for pure code
AF_UNSPEC = 0
AF_INET = 2
AF_INET6 = 10

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK, without NLA_F_NESTED and NLA_F_NET_BYTEORDER


@dataclass(frozen=True, slots=True)
class Message:
    """A request without its sequence number, and words for what it does, which errors quote."""

    what: str
    kind: int
    flags: int
    payload: bytes

    def pack(self, sequence: int, *, ack: bool = True) -> bytes:
        """The message as the kernel reads it, padded to 4 bytes. A failure is told with and without `ack`, a success with it."""
        flags = self.flags | REQUEST | (ACK if ack else 0)
        head = _HEADER.pack(_HEADER.size + len(self.payload), self.kind, flags, sequence, 0)
        return head + _padded(self.payload)


@dataclass(frozen=True, slots=True)
class Reply:
    """A message from the kernel."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """What an acknowledgement says: 0 for success, else an errno, and the kernel's own words if it had any."""

    errno: int
    words: str


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + _padded(value)


def u32(value: int) -> bytes:
    """A 32-bit attribute value."""
    return struct.pack("=I", value)


def text(value: str) -> bytes:
    """A string attribute value, with its NUL."""
    return value.encode("utf-8", "surrogateescape") + b"\0"


def parse_attributes(blob: bytes) -> Mapping[int, bytes]:
    """Attribute values by type; of a repeated type the last one counts."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(blob):
        length, kind = _ATTRIBUTE.unpack_from(blob, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = blob[offset + _ATTRIBUTE.size : offset + length]
        offset += _align(length)
    return found


def parse_replies(blob: bytes) -> Iterator[Reply]:
    """The messages of one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(blob):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(blob, offset)
        if length < _HEADER.size:
            break
        yield Reply(kind, flags, sequence, blob[offset + _HEADER.size : offset + length])
        offset += _align(length)


def failure(reply: Reply) -> Failure:
    """The outcome that an NLMSG_ERROR or NLMSG_DONE carries (man 7 netlink, "NLMSG_ERROR"; extended acknowledgements)."""
    if len(reply.payload) < 4:
        return Failure(0, "")
    errno = -struct.unpack_from("=i", reply.payload)[0]
    return Failure(errno, _words(reply) if reply.flags & ACK_TLVS else "")


def _words(reply: Reply) -> str:
    # An error number, then the request's header, then (unless capped) the request's payload, then the attributes.
    echoed = _HEADER.size
    if not reply.flags & CAPPED:
        echoed = _align(struct.unpack_from("=I", reply.payload, 4)[0])
    offset = 4 + echoed if reply.kind == NLMSG_ERROR else 4
    said = parse_attributes(reply.payload[offset:]).get(NLMSGERR_ATTR_MSG, b"")
    return said.rstrip(b"\0").decode("utf-8", "replace")


def _align(length: int) -> int:
    return (length + 3) & ~3


def _padded(value: bytes) -> bytes:
    return value + b"\0\0\0"[: -len(value) % 4]
