"""Takes fields out of a JSON object and collects what is wrong with them, by path. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from romana.errors import Fault

__all__ = ["Reader"]


class Reader:
    """Reads fields; a fault is noted and something harmless is given back, so that one pass finds every fault.

    As in the API, `null` is the same as a field that is not there."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, path: str, message: str) -> None:
        """Note what stands at a path and what would be accepted."""
        self.faults.append(Fault(path, message))

    def known(self, parent: Mapping[str, Any], path: str, fields: set[str]) -> None:
        """Note every field that is not one of these: it might narrow what the policy allows."""
        for field in parent:
            if field not in fields:
                self.fault(_join(path, str(field)), f"is not known here; known are {', '.join(sorted(fields))}")

    def mapping(self, parent: Mapping[str, Any], field: str, path: str) -> Mapping[str, Any]:
        """The object of a field; empty when it is absent."""
        value = parent.get(field)
        if value is not None and not isinstance(value, Mapping):
            self.fault(_join(path, field), f"is {value!r}; must be an object")
        return value if isinstance(value, Mapping) else {}

    def items(self, parent: Mapping[str, Any], field: str, path: str) -> list[Any]:
        """The list of a field; empty when it is absent."""
        value = parent.get(field)
        if value is not None and not isinstance(value, list):
            self.fault(_join(path, field), f"is {value!r}; must be a list")
        return value if isinstance(value, list) else []

    def objects(self, parent: Mapping[str, Any], field: str, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
        """The objects of a list with the path of each."""
        for index, value in enumerate(self.items(parent, field, path)):
            where = f"{_join(path, field)}[{index}]"
            if isinstance(value, Mapping):
                yield value, where
            else:
                self.fault(where, f"is {value!r}; must be an object")


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
