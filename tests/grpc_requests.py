"""Requests of any message of ours, for hypothesis: plausible in each field, or extreme; and bytes that are no message at all."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

__all__ = ["messages", "spoilt"]

Field = FieldDescriptor

_EXTREME = ["", " ", "\0", "/", "a/b", "..", "%", "é", "\U0001f4a5", "-", "x" * 300, "0" * 5000, "a b", "*", "\n"]
_NUMBERS = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}


Likely = Mapping[str, Sequence[str | bytes]]
"""By name of a field, what it may be; it is nearly always there."""


def messages(kind: Descriptor, likely: Likely) -> st.SearchStrategy[Message]:
    """Messages of that type: a field is something likely, something extreme, or absent."""
    made = st.tuples(*(_field(field, likely) for field in kind.fields))
    names = [field.name for field in kind.fields]

    def message(values: tuple[Any, ...]) -> Message:
        found = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        return GetMessageClass(kind)(**found)

    return made.map(message)


def spoilt(raw: bytes, seed: int) -> bytes:
    """The bytes with a few of them changed, removed or repeated."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    found = bytearray(raw or b"\0")
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(found) + 1)
        found[at : at + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
    return bytes(found)


def _field(field: Field, likely: Likely) -> st.SearchStrategy[Any]:
    """None: absent."""
    some = _values(field, likely)
    often = field.name in likely or field.message_type is not None
    return st.integers(0, 23).flatmap(lambda dice: some if (dice > 0) == often else st.none())


def _values(field: Field, likely: Likely) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = (_one(kind.fields_by_name[name], likely) for name in ("key", "value"))
        return st.dictionaries(key, value, max_size=3)
    one = _one(field, likely)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _one(field: Field, likely: Likely) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, likely)
    if field.cpp_type == Field.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == Field.CPPTYPE_STRING:
        raw = field.type == Field.TYPE_BYTES
        extreme: st.SearchStrategy[Any] = (
            st.binary(max_size=50) if raw else st.one_of(st.sampled_from(_EXTREME), st.text(max_size=10))
        )
        known = st.sampled_from(likely[field.name]) if field.name in likely else extreme
        return st.integers(0, 23).flatmap(lambda dice: known if dice else extreme)
    low, high = _NUMBERS[field.cpp_type]
    return st.one_of(st.sampled_from([0, 1, low, high]), st.integers(low, high))
