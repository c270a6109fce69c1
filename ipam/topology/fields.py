"""Objects of the document read field by field, every fault collected with its path. Pure."""

import difflib
import re
from collections.abc import Callable
from typing import TypeVar

from ipam.topology.document import Labels
from ipam.topology.syntax import label_key, label_value, quoted
from ipam.topology.text import Pairs, Tree
from romana.errors import Fault

__all__ = ["Fields", "at_index", "at_key", "found"]

T = TypeVar("T")

_HINTS = {"hosts": '; hosts stand in the "groups" of a leaf'}  # Romana's manual has such a key, its programs never had
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def at_key(path: str, key: str) -> str:
    """Path of a field: `topologies[0].map`; keys that are no identifiers stand in brackets and quotes."""
    if _IDENTIFIER.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{quoted(key)}]"


def at_index(path: str, index: int) -> str:
    """Path of a list's item."""
    return f"{path}[{index}]"


def found(value: Tree) -> str:
    """What stands in the document, for a message."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else f"the number {value}"[:60]


class Fields:
    """One object of the document. A getter gives the value, or a default after it has noted the fault."""

    def __init__(self, tree: Tree, path: str, what: str, accepts: tuple[str, ...], faults: list[Fault]) -> None:
        self.path = path
        self._what = what
        self._faults = faults
        self._values: dict[str, Tree] = {}
        if not isinstance(tree, Pairs):
            self.is_object = False
            self._fault(path, f"found {found(tree)}; {what} is an object with {', '.join(accepts)}")
            return
        self.is_object = True
        for key, value in tree.pairs:
            self._take(key, value, accepts)

    def _take(self, key: str, value: Tree, accepts: tuple[str, ...]) -> None:
        if key not in accepts:
            near = difflib.get_close_matches(key, accepts, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else _HINTS.get(key, "")
            self._fault(at_key(self.path, key), f"unknown key {quoted(key)}; {self._what} has {', '.join(accepts)}{hint}")
        elif key in self._values:
            self._fault(at_key(self.path, key), f"the key {quoted(key)} stands there twice; once is accepted")
        else:
            self._values[key] = value

    def _fault(self, path: str, message: str) -> None:
        self._faults.append(Fault(path, message))

    def _present(self, key: str, *, required: bool, accepted: str) -> bool:
        if key in self._values:
            return True
        if required and self.is_object:
            self._fault(at_key(self.path, key), f"missing; {accepted} is required")
        return False

    def text(self, key: str, parse: Callable[[str], T], default: T | None = None) -> T | None:
        """What `parse` makes of a text; the field is required when there is no default."""
        if not self._present(key, required=default is None, accepted="a text"):
            return default
        return self._parsed(at_key(self.path, key), self._values[key], parse, default)

    def _parsed(self, path: str, value: Tree, parse: Callable[[str], T], default: T | None = None) -> T | None:
        if not isinstance(value, str):
            self._fault(path, f"found {found(value)}; a text is accepted, in quotes")
            return default
        try:
            return parse(value)
        except ValueError as err:
            self._fault(path, str(err))
            return default

    def integer(self, key: str) -> int | None:
        """A whole number; the field may be absent."""
        if not self._present(key, required=False, accepted="a whole number"):
            return None
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int):
            self._fault(at_key(self.path, key), f"found {found(value)}; a whole number is accepted")
            return None
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """True or false; the field may be absent."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            self._fault(at_key(self.path, key), f"found {found(value)}; true or false is accepted")
            return default
        return value

    def one_or_more(self, key: str, what: str, parse: Callable[[str], T]) -> tuple[tuple[str, T], ...]:
        """Path and value of a text, or of each text of a list; the field may be absent."""
        if isinstance(self._values.get(key), list):
            return self.texts(key, what, parse, required=False)
        if key not in self._values:
            return ()
        path = at_key(self.path, key)
        value = self._parsed(path, self._values[key], parse)
        return () if value is None else ((path, value),)

    def has(self, key: str) -> bool:
        """Whether the field is written, right or wrong."""
        return key in self._values

    def items(self, key: str, what: str, *, required: bool = True) -> list[tuple[str, Tree]]:
        """Path and value of each item of a list; a required list must not be empty."""
        path = at_key(self.path, key)
        if not self._present(key, required=required, accepted=f"a list of {what}"):
            return []
        value = self._values[key]
        if not isinstance(value, list):
            self._fault(path, f"found {found(value)}; a list of {what} is accepted")
            return []
        if required and not value:
            self._fault(path, f"found an empty list; at least one of {what} is required")
        return [(at_index(path, index), item) for index, item in enumerate(value)]

    def texts(self, key: str, what: str, parse: Callable[[str], T], *, required: bool = True) -> tuple[tuple[str, T], ...]:
        """Path and value of each text of a list, none of them twice."""
        values: dict[T, str] = {}
        for path, item in self.items(key, what, required=required):
            value = self._parsed(path, item, parse)
            if value is not None and value in values:
                self._fault(path, f"{quoted(str(value))} stands there twice; once is accepted")
            elif value is not None:
                values[value] = path
        return tuple((path, value) for value, path in values.items())

    def labels(self, key: str) -> Labels:
        """A mapping of node labels to values, sorted; the field may be absent."""
        if key not in self._values:
            return ()
        path = at_key(self.path, key)
        tree = self._values[key]
        if not isinstance(tree, Pairs):
            self._fault(path, f"found {found(tree)}; an object of node labels and their values is accepted")
            return ()
        labels: dict[str, str] = {}
        for name, value in tree.pairs:
            self._label(at_key(path, name), name, value, labels)
        return tuple(sorted(labels.items()))

    def _label(self, path: str, name: str, value: Tree, labels: dict[str, str]) -> None:
        if name in labels:
            self._fault(path, f"the label {quoted(name)} stands there twice; once is accepted")
            return
        label = self._parsed(path, name, label_key)
        text = self._parsed(path, value, label_value)
        if label is not None and text is not None:
            labels[label] = text
