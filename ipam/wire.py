"""Protobuf's wire format, as far as `ipam.codec_allocation` writes it by hand. Pure.

A field is its number and type in one byte, a length, and its bytes; a message is its fields. So parts that many values share are
put into bytes once, where a message object is filled, copied and encoded for each. Fields 1 to 15 and type "length-delimited".
Source: protobuf.dev, "Encoding".
"""

from typing import Final

__all__ = ["nested", "number", "text"]

_LENGTHS = 128  # up to here a length is one byte
_HEADS: Final = tuple(tuple(bytes((field << 3 | 2, length)) for length in range(_LENGTHS)) for field in range(16))


def nested(field: int, body: bytes) -> bytes:
    """A message or bytes; an empty message is there all the same."""
    length = len(body)
    if length < _LENGTHS:
        return _HEADS[field][length] + body
    return bytes((field << 3 | 2,)) + _varint(length) + body


def text(field: int, value: str) -> bytes:
    """A string; nothing at all for the empty one, as proto3 has it."""
    return nested(field, value.encode()) if value else b""


def number(field: int, value: int) -> bytes:
    """A number that is not negative, or an enum's; nothing at all for 0."""
    return bytes((field << 3,)) + _varint(value) if value else b""


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= _LENGTHS:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
