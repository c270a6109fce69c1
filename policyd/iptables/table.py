"""The filter table of this network namespace, read straight from the kernel: no library, no lock, nobody's extensions."""

import contextlib
import ctypes
import errno
import os
import socket
import struct

from policyd.ipset.model import Family
from policyd.iptables.blob import NAME_BYTES, Info, TableState, parse_info, parse_table
from romana.errors import Unavailable

__all__ = ["read_info", "read_table"]

GET_INFO, GET_ENTRIES = 64, 65  # IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES, the same for IPv6
INFO_BYTES = 84  # sizeof(struct ipt_getinfo)
ENTRIES_AT = 40  # offsetof(struct ipt_get_entries, entrytable)
FILTER = b"filter"

READ_TRIES = 50
"""Size and content are two questions: the kernel answers EAGAIN when somebody changes the table between them, so ask again."""

# socket.getsockopt() passes no name of a table in, so the C library's is called.
_libc = ctypes.CDLL(None, use_errno=True)


def read_info(family: Family) -> Info:
    """The table's outline. Raises Unavailable where the kernel has no legacy filter table."""
    return parse_info(_ask(family, GET_INFO, FILTER.ljust(INFO_BYTES, b"\0")))


def read_table(family: Family) -> TableState:
    """Our chains, and FORWARD. Raises Unavailable, also when others change the table's size again and again."""
    for _ in range(READ_TRIES):
        info = read_info(family)
        question = struct.pack(f"={NAME_BYTES}sI", FILTER, info.size_bytes).ljust(ENTRIES_AT + info.size_bytes, b"\0")
        with contextlib.suppress(_Changed):
            return parse_table(family, info, _ask(family, GET_ENTRIES, question)[ENTRIES_AT:])
    raise Unavailable(f"the legacy IPv{family} filter table was changed by others each of {READ_TRIES} times that it was read")


class _Changed(Exception):
    """The table no longer has the size that was asked for."""


def _ask(family: Family, option: int, question: bytes) -> bytes:
    level = socket.IPPROTO_IP if family == 4 else socket.IPPROTO_IPV6
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    try:
        with socket.socket(kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as asker:
            refused = _libc.getsockopt(asker.fileno(), level, option, buffer, ctypes.byref(length)) and ctypes.get_errno()
    except OSError as err:
        raise Unavailable(f"cannot read the legacy IPv{family} filter table: {err}") from err
    if refused == errno.EAGAIN:
        raise _Changed
    if refused:
        raise Unavailable(f"cannot read the legacy IPv{family} filter table: {os.strerror(refused)}")
    return buffer.raw
