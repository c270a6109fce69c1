"""Decodes JSON values by shapes as Kubernetes' API server decodes them into its Go types. Pure.

Null is the zero value, empty fields vanish (Go's `omitempty`), unknown and repeated fields are dropped with a warning or, when
strict, are faults; a wrong type is a fault in the words of Go's decoder.
Source: sigs.k8s.io/json, and the `json` tags in k8s.io/api.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from romana.errors import Fault
from romana.objects.json_values import Json, JsonObject, type_name
from romana.objects.words import quoted

__all__ = ["Decoded", "Dropped", "Field", "Keep", "ListOf", "MapOf", "Scalar", "Shape", "Struct", "decode"]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


class Keep(Enum):
    """When a field stands in the decoded object."""

    NONEMPTY = "omitempty"
    ALWAYS = "also when it is empty"
    GIVEN = "a pointer: when it is given and not null"


class Scalar(Enum):
    """Values without parts, by their Go type."""

    STRING = "string"
    INT32 = "int32"
    BOOL = "bool"
    INT_OR_STRING = "int32 or string"
    PROTOCOL = "v1.Protocol"
    POLICY_TYPE = "v1.PolicyType"
    OPERATOR = "v1.LabelSelectorOperator"

    @property
    def go(self) -> str:
        """Its name in Go's faults."""
        return "int32" if self is Scalar.INT_OR_STRING else self.value


@dataclass(frozen=True, slots=True)
class Dropped:
    """A field that the API knows and we have no use for: anything is taken, nothing is kept."""

    go: str = ""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A Go slice."""

    item: "Shape"

    @property
    def go(self) -> str:
        """Its name in Go's faults."""
        return f"[]{self.item.go}"


@dataclass(frozen=True, slots=True)
class MapOf:
    """A Go map[string]string."""

    go: str = "map[string]string"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct."""

    shape: "Shape"
    keep: Keep = Keep.NONEMPTY


@dataclass(frozen=True, slots=True)
class Struct:
    """A Go struct; an `open` one has fields that we do not list, and they are dropped without a warning."""

    go: str
    fields: Mapping[str, Field]
    open: bool = False


Shape = Scalar | Dropped | ListOf | MapOf | Struct


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding found besides the value."""

    strict: bool = False
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def odd(self, what: str, path: str) -> None:
        """An unknown or repeated field."""
        text = f"{what} field {quoted(path)}"
        if self.strict:
            self.faults.append(Fault(path, f"strict decoding error: {text}"))
        else:
            self.warnings.append(text)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the object: our path has indexes, Go's has none and begins with the innermost struct."""

    path: str
    go_path: str
    struct: str

    def into(self, name: str, struct: str) -> "_Place":
        """The place of a field."""
        return _Place(_join(self.path, name), _join(self.go_path, name), struct)

    def at(self, index: int) -> "_Place":
        """The place of an item."""
        return replace(self, path=f"{self.path}[{index}]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def decode(value: Json, shape: Struct, found: Decoded) -> Json:
    """The value as the API server would store it, before defaulting; what is wrong or odd is added to `found`."""
    return _decode(value, shape, _Place("", "", shape.go), found)


def _decode(value: Json, shape: Shape, place: _Place, found: Decoded) -> Json:
    if isinstance(shape, Struct):
        return _struct(value, shape, place, found)
    if isinstance(shape, ListOf):
        return _list(value, shape, place, found)
    if isinstance(shape, MapOf):
        return _map(value, shape, place, found)
    return None if isinstance(shape, Dropped) else _scalar(value, shape, place, found)


def _struct(value: Json, shape: Struct, place: _Place, found: Decoded) -> Json:
    given = _object(value, shape, place, found)
    name = shape.go.rpartition(".")[2]
    for key in given:
        if key not in shape.fields and not shape.open:
            found.odd("unknown", place.into(key, name).path)
    for key in given.duplicates:
        found.odd("duplicate", place.into(key, name).path)
    kept: dict[str, Json] = {}
    for key, entry in shape.fields.items():
        if entry.keep is not Keep.GIVEN or given.get(key) is not None:
            part = _decode(given.get(key), entry.shape, place.into(key, name), found)
            if entry.keep is not Keep.NONEMPTY or part:
                kept[key] = part
    return kept


def _list(value: Json, shape: ListOf, place: _Place, found: Decoded) -> Json:
    if value is not None and not isinstance(value, list):
        return _mismatch(value, shape.go, place, found, [])
    return [_decode(item, shape.item, place.at(index), found) for index, item in enumerate(value or [])]


def _map(value: Json, shape: MapOf, place: _Place, found: Decoded) -> Json:
    given = _object(value, shape, place, found)
    for key in given.duplicates:
        found.odd("duplicate", f"{place.path}.{_text(key)}")
    return {_text(key): _scalar(item, Scalar.STRING, place, found) for key, item in given.items()}


def _object(value: Json, shape: Struct | MapOf, place: _Place, found: Decoded) -> JsonObject:
    if isinstance(value, dict):
        return value if isinstance(value, JsonObject) else JsonObject(value.items())
    if value is not None:
        _mismatch(value, shape.go, place, found, None)
    return JsonObject()


def _scalar(value: Json, shape: Scalar, place: _Place, found: Decoded) -> Json:
    if shape is Scalar.BOOL:
        return value is True if value is None or isinstance(value, bool) else _mismatch(value, shape.go, place, found, False)
    if isinstance(value, str) and shape is not Scalar.INT32:
        return _text(value)
    if shape in {Scalar.INT32, Scalar.INT_OR_STRING}:
        return _int32(value, shape, place, found)
    return "" if value is None else _mismatch(value, shape.go, place, found, "")


def _int32(value: Json, shape: Scalar, place: _Place, found: Decoded) -> Json:
    if type(value) is int and INT32_MIN <= value <= INT32_MAX:
        return value
    return 0 if value is None else _mismatch(value, shape.go, place, found, 0)


def _mismatch(value: Json, go: str, place: _Place, found: Decoded, instead: Json) -> Json:
    """Note a wrong type, in the words of Go's decoder; `instead` stands in for the value."""
    literal = f" {value}" if go == "int32" and type_name(value) == "number" else ""
    where = f"{place.struct}.{place.go_path}" if place.go_path else place.struct
    into = f"Go struct field {where}" if place.go_path else "Go value"
    found.faults.append(Fault(place.path, f"json: cannot unmarshal {type_name(value)}{literal} into {into} of type {go}"))
    return instead


def _text(value: str) -> str:
    """Text that is UTF-8: half a surrogate pair becomes U+FFFD, as in Go."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
