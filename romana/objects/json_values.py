"""JSON values as read from a manifest, and which fields stood in it twice. Pure."""

from collections.abc import Iterable
from typing import TypeAlias, Union

__all__ = ["Json", "JsonObject", "type_name"]

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]


class JsonObject(dict[str, Json]):
    """An object that remembers which of its fields were given more than once; the last one counts, as in the API."""

    __slots__ = ("duplicates",)

    def __init__(self, pairs: Iterable[tuple[str, Json]] = ()) -> None:
        super().__init__()
        duplicates: dict[str, None] = {}
        for key, value in pairs:
            if key in self:
                duplicates[key] = None
            self[key] = value
        self.duplicates = tuple(duplicates)


def type_name(value: Json) -> str:
    """What JSON calls the type of a value."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object", JsonObject: "object"}
    return names.get(type(value), "null")
