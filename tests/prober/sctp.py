"""SCTP's INIT and INIT ACK as bytes, for kernels without SCTP sockets. Pure. Source: RFC 9260, sections 3.1, 3.3.2, 3.3.3.

Connection tracking drops a packet whose checksum is wrong (CRC32c, RFC 9260, appendix A), so it is right here.
"""

import struct

__all__ = ["INIT", "INIT_ACK", "build", "parse"]

INIT, INIT_ACK = 1, 2
_COOKIE = struct.pack("!HH4s", 7, 8, b"romana"[:4])  # a State Cookie, which an INIT ACK must have


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - CRC32c's polynomial, bit by bit
        values.append(value)
    return tuple(values)


_TABLE = _table()


def build(kind: int, source: int, destination: int, verification_tag: int, initiate_tag: int) -> bytes:
    """A packet with one chunk."""
    body = struct.pack("!IIHHI", initiate_tag, 1 << 16, 1, 1, 1) + (_COOKIE if kind == INIT_ACK else b"")
    chunk = struct.pack("!BBH", kind, 0, 4 + len(body)) + body
    header = struct.pack("!HHI", source, destination, verification_tag)
    checksum = struct.pack("<I", _crc32c(header + bytes(4) + chunk))
    return header + checksum + chunk


def parse(packet: bytes) -> tuple[int, int, int, int]:
    """Kind of the first chunk, source port, destination port, initiate tag; kind 0 for what is neither INIT nor INIT ACK."""
    if len(packet) < 20 or packet[12] not in (INIT, INIT_ACK):
        return 0, 0, 0, 0
    source, destination = struct.unpack_from("!HH", packet)
    return packet[12], source, destination, struct.unpack_from("!I", packet, 16)[0]


def _crc32c(packet: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in packet:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
