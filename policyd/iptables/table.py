"""The filter table of this network namespace, read straight from the kernel: no library, no lock, nobody's extensions."""

import ctypes
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

# socket.getsockopt() passes no name of a table in, so the C library's is called.
_libc = ctypes.CDLL(None, use_errno=True)


def read_info(family: Family) -> Info:
    """The table's outline. Raises Unavailable where the kernel has no legacy filter table."""
    return parse_info(_ask(family, GET_INFO, FILTER.ljust(INFO_BYTES, b"\0")))


def read_table(family: Family) -> TableState:
    """Our chains, and FORWARD. Raises Unavailable, also when somebody changes the table between size and content."""
    info = read_info(family)
    question = struct.pack(f"={NAME_BYTES}sI", FILTER, info.size_bytes).ljust(ENTRIES_AT + info.size_bytes, b"\0")
    return parse_table(family, info, _ask(family, GET_ENTRIES, question)[ENTRIES_AT:])


def _ask(family: Family, option: int, question: bytes) -> bytes:
    level = socket.IPPROTO_IP if family == 4 else socket.IPPROTO_IPV6
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    try:
        with socket.socket(kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as asker:
            if _libc.getsockopt(asker.fileno(), level, option, buffer, ctypes.byref(length)):
                raise Unavailable(f"cannot read the legacy IPv{family} filter table: {os.strerror(ctypes.get_errno())}")
    except OSError as err:
        raise Unavailable(f"cannot read the legacy IPv{family} filter table: {err}") from err
    return buffer.raw
