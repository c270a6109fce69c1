"""What we last heard from the store: nodes and blocks, decoded once into frozen values.

A record that cannot be read is a problem of its own, not the end of all other routes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from romana import keys
from romana.errors import InvalidInput
from romana.reconcile import Source
from romana.store.api import KeyValue, Store
from romana.store.reflector import Reflector
from romana.v1 import store_pb2
from routed.model import Block, Node, Problem

__all__ = ["State", "View", "parse_block", "parse_node"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """All that is known at one moment."""

    nodes: tuple[Node, ...]
    blocks: tuple[Block, ...]
    applied: Mapping[str, int]
    """Per watched prefix, the revision that this view has reached."""
    problems: tuple[Problem, ...]


class State:
    """Two watched copies of the store, owned by the daemon's task."""

    def __init__(self, store: Store) -> None:
        self._nodes = Reflector(store, keys.NODES)
        self._blocks = Reflector(store, keys.BLOCKS)
        self._parsed_nodes = _Parsed(parse_node)
        self._parsed_blocks = _Parsed(parse_block)

    def sources(self) -> list[Source]:
        """What the loop follows."""
        return [Source(copy.prefix, copy.updates) for copy in (self._nodes, self._blocks)]

    @property
    def unread(self) -> list[str]:
        """The prefixes that have had no snapshot yet."""
        return [copy.prefix for copy in (self._nodes, self._blocks) if not copy.revision]

    def view(self) -> View:
        """The state as it is now; only what changed is decoded again."""
        nodes, bad_nodes = self._parsed_nodes.values(self._nodes.items)
        blocks, bad_blocks = self._parsed_blocks.values(self._blocks.items)
        applied = {copy.prefix: copy.revision for copy in (self._nodes, self._blocks)}
        return View(nodes, blocks, applied, bad_nodes + bad_blocks)


class _Parsed(Generic[T]):
    """Remembers what each stored item was decoded to, for as long as the item is the same."""

    def __init__(self, parse: Callable[[KeyValue], T]) -> None:
        self._parse = parse
        self._known: dict[str, tuple[KeyValue, T | Problem]] = {}

    def values(self, items: Mapping[str, KeyValue]) -> tuple[tuple[T, ...], tuple[Problem, ...]]:
        self._known = {key: self._entry(item) for key, item in items.items()}
        found = [value for _, value in self._known.values()]
        problems = tuple(value for value in found if isinstance(value, Problem))
        return tuple(value for value in found if not isinstance(value, Problem)), problems

    def _entry(self, item: KeyValue) -> tuple[KeyValue, T | Problem]:
        known = self._known.get(item.key)
        if known is not None and known[0] is item:
            return known
        try:
            return item, self._parse(item)
        except InvalidInput as err:
            return item, Problem("bad-record", f"key {item.key!r} cannot be read and is left out: {err}")


def parse_node(item: KeyValue) -> Node:
    """The node of a `nodes/` key; raises InvalidInput."""
    (name,) = keys.split(keys.NODES, item.key, 1)
    try:
        message = store_pb2.Node.FromString(item.value)
        addresses = tuple(ip_address(text) for text in message.addresses)
    except (DecodeError, ValueError) as err:
        raise InvalidInput(str(err)) from err
    if not message.uid:
        raise InvalidInput("it has no uid")
    return Node(name, message.uid, addresses)


def parse_block(item: KeyValue) -> Block:
    """The block of a `blocks/` key; raises InvalidInput."""
    _, cidr = keys.parse_block(item.key)
    try:
        message = store_pb2.Block.FromString(item.value)
    except DecodeError as err:
        raise InvalidInput(str(err)) from err
    if not message.node_uid:
        raise InvalidInput("it has no owner")
    return Block(cidr, message.node, message.node_uid)
