"""YAML and JSON as Kubernetes reads them, and what is neither."""

from typing import Any

import pytest

from romana.errors import InvalidInput
from romana.objects.documents import SIZE_MAX, read_documents
from romana.objects.json_values import JsonObject
from romana.objects.manifest import identities, parse
from romana.objects.yaml_reading import DEPTH_MAX


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: '1'", {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("a: ! 1", {"a": "1"}),
        ("a: !!int 1", {"a": 1}),
        ("a: -0x1F", {"a": -31}),
        ("a: 0x_", {"a": "0x_"}),
        ("a: 010", {"a": 8}),
        ("a: 0o10", {"a": 8}),
        ("a: 0b11", {"a": 3}),
        ("a: 08", {"a": 8.0}),
        ("a: 1_000", {"a": 1000}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: .inf", {"a": float("inf")}),
        ("a: 2020-01-01", {"a": "2020-01-01"}),
        ("a: 10:30", {"a": "10:30"}),
        ("a: yes\nb: Off\nc: 'yes'", {"a": True, "b": False, "c": "yes"}),
        ("a: ~\nb:\nc: ''", {"a": None, "b": None, "c": ""}),
        ("1: x\ntrue: y\n1.5: z", {"1": "x", "true": "y", "1.5": "z"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("d: {<<: [{a: 1}, {a: 2, b: 2}]}", {"d": {"a": 1, "b": 2}}),
        ('"<<": 1', {"<<": 1}),
        ('{"a": "\\ud83d\\ude00\\/", "b": [1.0]}', {"a": "\U0001f600/", "b": [1.0]}),
        ("{a: b}", {"a": "b"}),
        ("a: " + "9" * 5000, {"a": float("inf")}),
    ],
)
def test_values_are_those_of_kubernetes(text: str, value: Any) -> None:
    (document,) = read_documents(text.encode())
    assert document == value
    assert isinstance(document, JsonObject)
    assert {name: type(part) for name, part in document.items() if name == "a"} == {
        name: JsonObject if isinstance(part, dict) else type(part) for name, part in value.items() if name == "a"
    }


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", '{"a": 1, "b": 2, "a": 3}', "{a: 1, b: 2, a: 3}"])
def test_fields_given_twice_are_remembered_and_the_last_one_counts(text: str) -> None:
    (document,) = read_documents(text.encode())
    assert isinstance(document, JsonObject)
    assert (document, document.duplicates) == ({"a": 3, "b": 2}, ("a",))


REFUSED = [
    b"",
    b"---\n",
    b"[1, 2",
    b"\xff\xfe",
    b"just text",
    b"42",
    b"[]",
    b"a: &a [*a]",
    b"a: *nothing",
    b"a: !!binary AAAA",
    b"a: !!python/object/apply:os.system [id]",
    b"a: !own {}",
    b"a: !!int x",
    b"? [a]\n: b",
    b"~: b",
    b"{<<: 3}",
    b"{<<: [3]}",
    b"[" * 20_000,
    b"{a: " * 20_000,
    b'{"a": ' * 200_000,
    b"- " * 20_000,
    b"{not json",
    b'{"a": NaN}',
    b"kind: Pod",
    b"{kind: List, items: 3}",
    b"{kind: List, items: []}",
    b"{kind: List}",
    b"\0",
    b"{kind: [Pod], apiVersion: {}}",
    b"a: b: c",
    b"%TAG ! tag:x\n---\na",
]


@pytest.mark.parametrize("text", REFUSED, ids=[repr(text[:24]) for text in REFUSED])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(text)
    with pytest.raises(InvalidInput):
        identities(text)


def test_a_manifest_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(InvalidInput, match=str(SIZE_MAX)):
        parse(b"#" * (SIZE_MAX + 1))


def test_depth_is_bounded_to_the_level() -> None:
    read_documents(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(InvalidInput, match="nested too deeply"):
        read_documents(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


def test_aliases_that_unfold_to_a_bomb_are_refused_at_once() -> None:
    levels = "\n".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 12))
    with pytest.raises(InvalidInput, match="unfolds"):  # unfolded they would be 10^11 items
        parse(f"l0: &l0 [x]\n{levels}".encode())
