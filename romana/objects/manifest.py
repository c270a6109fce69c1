"""Reads Kubernetes manifests: NetworkPolicies, Pods, Namespaces and Lists of them. Pure.

text --documents--> JSON values --items--> one object each --shapes--> decoded --defaults, rules--> values, faults, warnings

Paths and words of faults are those of the Kubernetes API. Where a manifest holds several objects they are preceded by
`document 2: ` or `items[0]: `.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from romana.errors import Fault, InvalidInput
from romana.objects.decoding import decode_object
from romana.objects.documents import read_documents
from romana.objects.json_values import Json, type_name
from romana.objects.kinds import KINDS, Kind, kind_of
from romana.objects.models import Object
from romana.objects.words import quoted, required

__all__ = ["Identity", "Manifest", "identities", "parse"]

FAULTS_MAX = 100  # shown; a manifest of megabytes can have hundreds of thousands
DEFAULT_NAMESPACE = "default"
_LISTS = ("List", *(f"{kind.name}List" for kind in KINDS))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest holds, in its order, and what the API would warn of."""

    objects: tuple[Object, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object: all that a deletion needs to know."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Item:
    """One object of the manifest, not yet looked at."""

    where: str
    kind: Kind
    api_version: str
    value: dict[str, Json]


def parse(text: bytes, namespace: str | None = None, *, strict: bool = False) -> Manifest:
    """All objects of a manifest, defaulted; `namespace` is for those that name none, and those that name another are refused.

    Unknown and repeated fields are dropped with a warning, by the API's default; with `strict` they are faults, as for kubectl.

    Raises InvalidInput with every fault of every object at once."""
    faults: list[Fault] = []
    objects: list[Object] = []
    warnings: list[str] = []
    for item in _items(text, faults):
        read = decode_object(item.kind, item.api_version, item.value, namespace, strict=strict)
        faults += (Fault(f"{item.where}{fault.path}", fault.message) for fault in read.faults)
        warnings += (f"{item.where}{warning}" for warning in read.warnings)
        if read.value is not None:
            objects.append(read.value)
    _refuse(faults)
    if not objects:
        raise InvalidInput("the manifest holds no object")
    return Manifest(tuple(objects), tuple(warnings))


def identities(text: bytes, namespace: str | None = None) -> list[Identity]:
    """Which objects a manifest names, whether or not they would be accepted; for deletions."""
    faults: list[Fault] = []
    found = []
    for item in _items(text, faults):
        metadata = item.value.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        name, own = named.get("name"), named.get("namespace")
        if not isinstance(name, str) or not name:
            faults.append(required(f"{item.where}metadata.name", "name is required"))
        else:
            place = own if isinstance(own, str) and own else namespace or DEFAULT_NAMESPACE
            found.append(Identity(item.kind, place if item.kind.namespaced else "", name))
    _refuse(faults)
    if not found:
        raise InvalidInput("the manifest holds no object")
    return found


def _refuse(faults: list[Fault]) -> None:
    if faults:
        more = len(faults) - FAULTS_MAX
        listed = [*faults[:FAULTS_MAX], Fault("", f"and {more} more")] if more > 0 else faults
        raise InvalidInput("the manifest is not valid:", listed)


def _items(text: bytes, faults: list[Fault]) -> Iterator[_Item]:
    """Each object with its place; Lists are opened, also those of one kind, whose items leave their kind out."""
    documents = read_documents(text)
    for number, document in enumerate(documents):
        where = f"document {number + 1}: " if len(documents) > 1 else ""
        if not isinstance(document, dict):
            faults.append(Fault(where.removesuffix(": "), f"is {type_name(document)}; must be an object"))
        elif document.get("kind") in _LISTS:
            yield from _listed(document, where, faults)
        else:
            yield from _item(document, where, faults)


def _listed(document: dict[str, Json], where: str, faults: list[Fault]) -> Iterator[_Item]:
    items = document.get("items") or []
    if not isinstance(items, list):
        faults.append(Fault(f"{where}items", f"is {type_name(items)}; must be a list"))
        return
    of_kind = str(document["kind"]).removesuffix("List")
    implied: dict[str, Json] = {"apiVersion": document.get("apiVersion"), "kind": of_kind} if of_kind else {}
    for index, item in enumerate(items):
        place = f"{where}items[{index}]"
        if isinstance(item, dict):
            item.update({key: value for key, value in implied.items() if key not in item})
            yield from _item(item, f"{place}: ", faults)
        else:
            faults.append(Fault(place, f"is {type_name(item)}; must be an object"))


def _item(value: dict[str, Json], where: str, faults: list[Fault]) -> Iterator[_Item]:
    version, name = value.get("apiVersion"), value.get("kind")
    kind = kind_of(version, name)
    if kind is None:
        known = ", ".join(f"{version}/{kind.name}" for kind in KINDS for version in kind.api_versions)
        words = f"no matches for kind {quoted(name)} in version {quoted(version)}" if name else "Object 'Kind' is missing"
        faults.append(Fault(f"{where}kind", f"{words}; known are {known} and Lists of them"))
    else:
        yield _Item(where, kind, str(version), value)
