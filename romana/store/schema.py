"""The version of the layout of keys and values (`romana.v1.store.Schema`), and who may read which.

The minor number grows with additions that older programs may ignore, the major one with changes that they would misread:

    newer major            refused by every program, at its start and while it runs
    this major             read; ipamd writes its own minor where the store's is lower
    up to 2 majors older   ipamd upgrades it, one major after the other, under a lock (`romana.store.upgrading`); others wait
    older still            refused: upgrade by way of a version between

A change of the major number comes with a `Step` here, and with a fixture of the layout before it in `tests/fixtures/layouts`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import DecodeError

from romana.errors import FatalError
from romana.store.api import Delete, KeyValue, Put, Store
from romana.store.reflector import Reflector
from romana.v1.store_pb2 import Schema

__all__ = ["KEY", "LAYOUT", "MAJOR", "MINOR", "Convert", "Layout", "Standing", "Step", "follow", "judge", "written"]

KEY = "schema"
MAJOR = 1
MINOR = 1  # 1.1: history, restored, restored/
READABLE = 2  # majors back

Convert = Callable[[KeyValue], Sequence[Put | Delete]]
"""What turns one key of the older layout into the newer one; nothing for a key that is in it already."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one major version to the next: by prefix, how its keys are converted. Right to repeat, and to be killed in."""

    converts: Mapping[str, Convert]


@dataclass(frozen=True, slots=True)
class Layout:
    """A version, and the steps that lead to it from older majors."""

    major: int
    minor: int
    steps: Mapping[int, Step] = field(default_factory=dict)
    """By the major version that the step starts from."""


LAYOUT = Layout(MAJOR, MINOR)


class Standing(Enum):
    """What the store's version is to a program."""

    CURRENT = "to be read as it is"
    OLDER_MINOR = "to be read as it is; ipamd writes its own minor"
    OLDER_MAJOR = "to be upgraded by ipamd first"


def judge(layout: Layout, item: KeyValue) -> Standing:
    """What the store's version is to this program; raises FatalError for one that it cannot read."""
    try:
        theirs = Schema.FromString(item.value)
    except DecodeError as err:
        raise FatalError(f"key {item.key!r} holds no schema: {err}") from err
    found, wanted = f"{theirs.major}.{theirs.minor}", f"this program reads {layout.major}.x"
    if theirs.major > layout.major:
        raise FatalError(f"the store's layout has version {found}, {wanted}: upgrade this program")
    if theirs.major < max(1, layout.major - READABLE):
        remedy = f"upgrade by way of a version that reads {theirs.major + READABLE}.x" if theirs.major else "the key is damaged"
        raise FatalError(f"the store's layout has version {found}, {wanted}: {remedy}")
    if theirs.major < layout.major:
        return Standing.OLDER_MAJOR
    return Standing.OLDER_MINOR if theirs.minor < layout.minor else Standing.CURRENT


def written(major: int, minor: int) -> bytes:
    """Value of `schema`."""
    return Schema(major=major, minor=minor).SerializeToString()


async def follow(store: Store, layout: Layout = LAYOUT) -> AsyncIterator[None]:
    """A source for `romana.reconcile`: yields when the version is known, and after each change.

    Raises FatalError as soon as it is one that this program cannot read: another program has upgraded the store.
    """
    reflector = Reflector(store, KEY)
    async with aclosing(reflector.updates()) as updates:
        async for _ in updates:
            if (item := reflector.items.get(KEY)) is not None:
                judge(layout, item)
            yield
