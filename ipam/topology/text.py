"""Bytes of JSON or YAML as a tree of plain values. Pure.

Mappings come as `Pairs`: in order and repeated keys kept, so that the reader can name them by path. YAML is taken
without what makes it dangerous or ambiguous: no aliases, no tags beyond the plain scalars, no merge keys, bounded depth; a date
stays the text it is. Source: yaml.org/spec/1.2.2; PyYAML resolves plain scalars by YAML 1.1.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from romana.errors import Fault, InvalidInput

__all__ = ["DOCUMENT_MAX_BYTES", "NESTING_MAX", "Pairs", "Tree", "parse_text"]

DOCUMENT_MAX_BYTES = 2 * 1024 * 1024  # below gRPC's default of 4 MiB for a message
NESTING_MAX = 64  # a group takes two levels, and an IPv4 network has bits for fewer than 30 levels of groups
INTEGER_MAX_BITS = 64  # a longer hexadecimal number could not even be shown: sys.get_int_max_str_digits()

Tree = Any
"""None, bool, int, float, str, list of Tree, or Pairs. What it is, the reader finds out field by field."""

_TAG = "tag:yaml.org,2002:"
_RESOLVER: Any = Resolver()
_PLAIN_TAGS = frozenset({"null", "bool", "int", "float", "str"})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml when PyYAML has it: 10 times as fast


@dataclass(frozen=True, slots=True)
class Pairs:
    """A JSON object or YAML mapping as it is written."""

    pairs: tuple[tuple[str, Tree], ...]


class _UnreadableError(ValueError):
    """A construct that we do not take, with its place."""


def parse_text(raw: bytes) -> Tree:
    """The document's tree; raises InvalidInput when it is too large, too deep, not UTF-8, or neither JSON nor YAML."""
    if len(raw) > DOCUMENT_MAX_BYTES:
        raise _refused(f"{len(raw)} bytes; at most {DOCUMENT_MAX_BYTES} are accepted")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _refused(f"byte {err.start} is not UTF-8; JSON or YAML in UTF-8 is accepted") from err
    tree = _parse(text)
    if _depth_exceeds(tree, NESTING_MAX):
        raise _refused(f"nested deeper than {NESTING_MAX} levels")
    return tree


def _refused(message: str) -> InvalidInput:
    return InvalidInput("the topology document cannot be read", [Fault("", message)])


def _parse(text: str) -> Tree:
    try:
        return json.loads(text, object_pairs_hook=_mapping, parse_constant=_no_constant)
    except RecursionError as err:
        raise _refused(f"nested deeper than {NESTING_MAX} levels") from err
    except ValueError as err:
        json_error = err
    try:
        return _parse_yaml(text)
    except (yaml.YAMLError, ValueError) as err:
        looks_like_json = text.lstrip()[:1] in {"{", "["} and not isinstance(err, _UnreadableError)
        raise _refused(f"not JSON: {json_error}" if looks_like_json else f"not YAML: {' '.join(str(err).split())}") from err


def _mapping(pairs: Iterable[tuple[str, Tree]]) -> Pairs:
    return Pairs(tuple(pairs))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_yaml(text: str) -> Tree:
    events = iter(yaml.parse(text, Loader=_LOADER))
    documents = [_node(next(events), events, 0) for event in events if isinstance(event, yaml.DocumentStartEvent)]
    if len(documents) != 1:
        raise _UnreadableError(f"{len(documents)} documents; exactly one is accepted")
    return documents[0]


def _node(event: Any, events: Iterator[Any], depth: int) -> Tree:
    where = f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}"
    if depth > NESTING_MAX:
        raise _UnreadableError(f"{where}: nested deeper than {NESTING_MAX} levels")
    if isinstance(event, yaml.AliasEvent):
        raise _UnreadableError(f"{where}: alias *{event.anchor}; aliases are not accepted, write the value out")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, where)
    if event.tag not in {None, "!", _TAG + "map", _TAG + "seq"}:
        raise _UnreadableError(f"{where}: tag {event.tag}; tags are not accepted")
    if isinstance(event, yaml.SequenceStartEvent):
        return [_node(item, events, depth + 1) for item in _until(events, yaml.SequenceEndEvent)]
    return Pairs(tuple(_pair(key, events, depth + 1) for key in _until(events, yaml.MappingEndEvent)))


def _until(events: Iterator[Any], end: type[Any]) -> Iterator[Any]:
    """The events at which the children of a collection start; each child takes its own events before the next is asked for."""
    while not isinstance(event := next(events), end):
        yield event


def _pair(key: Any, events: Iterator[Any], depth: int) -> tuple[str, Tree]:
    """Key and value; the key is the text as written, so that a label `on` or `1` is what it looks like."""
    if not isinstance(key, yaml.ScalarEvent):
        raise _UnreadableError(f"line {key.start_mark.line + 1}: a key must be text")
    return str(key.value), _node(next(events), events, depth)


def _scalar(event: Any, where: str) -> Tree:
    tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit) if event.tag in {None, "!"} else event.tag
    kind = tag.removeprefix(_TAG)
    if event.tag not in {None, "!"} and kind not in _PLAIN_TAGS:
        raise _UnreadableError(f"{where}: tag {event.tag}; tags are not accepted")
    if kind not in _PLAIN_TAGS or kind == "str":
        return str(event.value)
    try:
        value = SafeConstructor().construct_object(yaml.ScalarNode(tag, event.value))
    except (ValueError, KeyError) as err:
        raise _UnreadableError(f"{where}: {event.value[:40]!r} is not a {kind}") from err
    if isinstance(value, int) and value.bit_length() > INTEGER_MAX_BITS:
        raise _UnreadableError(f"{where}: {event.value[:40]!r} is too large a number")
    return value


def _depth_exceeds(tree: Tree, limit: int) -> bool:
    level = [tree]
    for _ in range(limit + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(tree: Tree) -> list[Tree]:
    if isinstance(tree, Pairs):
        return [value for _, value in tree.pairs]
    return tree if isinstance(tree, list) else []
