"""The tables of docs/ipam.md: every invariant, scenario and weakness has its test, which is there and bears the number."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([ISW])(\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`([\w/.]+)::([\w.]+)`")
COUNTS = {"I": 14, "S": 20, "W": 20}
WITHOUT = ("Kubernetes issue: ", "Not of addresses: ")
"""How a row begins that has no test, and says why."""

Rows = list[tuple[str, str]]


def rows() -> Rows:
    """Number, and what stands in the last column."""
    return [(letter + number, tests) for letter, number, _, tests in ROW.findall((ROOT / "docs/ipam.md").read_text())]


NAMED = [(number, file, test) for number, tests in rows() for file, test in TEST.findall(tests)]


@cache
def functions_of(file: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file, and methods as `Class.method`."""
    path = ROOT / file
    found: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in ast.parse(path.read_text()).body if path.exists() else ():
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + it.name: it for it in members if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


@pytest.mark.parametrize("letter", COUNTS)
def test_every_number_has_one_row_in_order(letter: str) -> None:
    numbers = [number for number, _ in rows() if number.startswith(letter)]
    assert numbers == [f"{letter}{number}" for number in range(1, COUNTS[letter] + 1)]


@pytest.mark.parametrize(("number", "tests"), rows(), ids=[number for number, _ in rows()])
def test_every_row_names_a_test_or_says_why_not(number: str, tests: str) -> None:
    assert TEST.search(tests) or tests.startswith(WITHOUT)
    assert number[0] != "I" or TEST.search(tests)


@pytest.mark.parametrize(("number", "file", "test"), NAMED, ids=[f"{number}-{test}" for number, _, test in NAMED])
def test_every_test_that_is_named_is_there_and_bears_the_number(number: str, file: str, test: str) -> None:
    function = functions_of(file).get(test)
    assert function is not None
    name = test.rpartition(".")[2].removeprefix("test_").split("_")
    words = re.findall(r"\w+", ast.get_docstring(function) or "")
    assert number.lower() in name or number in words
