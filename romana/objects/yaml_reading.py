"""YAML documents as JSON values: no recursion, no code, bounded in depth and in what aliases unfold to. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from romana.errors import InvalidInput
from romana.objects.json_values import Json, JsonObject
from romana.objects.scalars import plain

__all__ = ["DEPTH_MAX", "read_yaml"]

DEPTH_MAX = 200  # Kubernetes objects stay below 40
VALUES_MAX = 1_000_000  # in one document, each alias counted with all that it stands for

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # only its parser is used: it gives events, and loads nothing
_TAG = "tag:yaml.org,2002:"
_Key = str | None


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end was not read yet."""

    anchor: str | None
    is_mapping: bool
    items: list[Json] = field(default_factory=list)
    pairs: list[tuple[str, Json]] = field(default_factory=list)
    merged: list[tuple[str, Json]] = field(default_factory=list)
    key: _Key = None
    at_key: bool = True
    size: int = 1


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Json
    size: int


def read_yaml(text: str) -> Iterator[Json]:
    """Each document of a stream; raises InvalidInput for what is no YAML, or more of it than we take."""
    try:
        yield from _documents(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as err:
        raise InvalidInput(f"the manifest is neither YAML nor JSON: {err}") from err
    except RecursionError as err:  # PyYAML's own scanner, where it was built without libyaml
        raise InvalidInput("the manifest is nested too deeply") from err


def _documents(events: Iterator[yaml.Event]) -> Iterator[Json]:
    reader = _Reader()
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            reader = _Reader()
        elif isinstance(event, yaml.DocumentEndEvent):
            yield reader.document
        else:
            reader.take(event)


class _Reader:
    """Builds one document from its events."""

    def __init__(self) -> None:
        self.document: Json = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}

    def take(self, event: yaml.Event) -> None:
        """Take in the next event."""
        if isinstance(event, yaml.AliasEvent):
            anchored = self._anchors.get(event.anchor or "")
            if anchored is None:
                raise _refused(event, f"the alias *{event.anchor} stands for nothing that ends before it")
            self._add(event, anchored.value, anchored.size)
        elif isinstance(event, yaml.ScalarEvent):
            self._close(event, event.anchor, _scalar(event), 1)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            ended = self._stack.pop()
            given = {key for key, _ in ended.pairs}
            merged = [(key, value) for key, value in JsonObject(ended.merged).items() if key not in given]
            self._close(event, ended.anchor, JsonObject(merged + ended.pairs) if ended.is_mapping else ended.items, ended.size)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in {None, "!", f"{_TAG}{'map' if is_mapping else 'seq'}"}:
            raise _refused(event, f"the tag {event.tag} is not taken")
        if len(self._stack) >= DEPTH_MAX:
            raise _refused(event, f"nested too deeply, more than {DEPTH_MAX} levels")
        self._stack.append(_Open(event.anchor, is_mapping))

    def _close(self, event: yaml.Event, anchor: str | None, value: Json, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, size)
        self._add(event, value, size)

    def _add(self, event: yaml.Event, value: Json, size: int) -> None:
        """Put a whole value where it belongs."""
        if not self._stack:
            self.document = value
            return
        parent = self._stack[-1]
        parent.size += size
        if parent.size > VALUES_MAX:
            raise _refused(event, f"the document unfolds to more than {VALUES_MAX} values")
        if not parent.is_mapping:
            parent.items.append(value)
        elif parent.at_key:
            parent.key, parent.at_key = _key(event, value), False
        else:
            parent.at_key = True
            _set(event, parent, value)


def _set(event: yaml.Event, parent: _Open, value: Json) -> None:
    if parent.key is not None:
        parent.pairs.append((parent.key, value))
        return
    for source in reversed(value if isinstance(value, list) else [value]):  # the first of several wins
        if not isinstance(source, JsonObject):
            raise _refused(event, "<< takes mappings only")
        parent.merged.extend(source.items())


def _key(event: yaml.Event, value: Json) -> _Key:
    """A mapping's key as text, as JSON has it; None for the merge key `<<`."""
    if isinstance(value, str):
        merges = value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        return None if merges else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise _refused(event, "keys must be texts")


def _scalar(event: yaml.ScalarEvent) -> Json:
    tag = event.tag
    if tag is None:
        return plain(event.value) if event.implicit[0] else event.value
    kind = tag.removeprefix(_TAG)
    if kind in {"!", "str"}:
        return event.value
    value = plain(event.value)
    wanted: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
    if type(value) not in wanted.get(kind, ()):
        raise _refused(event, f"the tag {tag} is not taken here")
    return value


def _refused(event: yaml.Event, text: str) -> InvalidInput:
    mark = event.start_mark
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return InvalidInput(f"the manifest{where}: {text}")
