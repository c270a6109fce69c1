"""The table of docs/cni.md: every requirement has a test, and the test is there."""

import ast
import re
from functools import cache
from pathlib import Path

from cni import errors

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| .* \| `([^`]+)::([^`]+)` \|$", re.MULTILINE)
COUNT = 52


def rows() -> list[tuple[int, str, str]]:
    """Number, file and test of each row."""
    return [(int(number), file, test) for number, file, test in ROW.findall((ROOT / "docs/cni.md").read_text())]


@cache
def named_in(file: str) -> frozenset[str]:
    """Names of the tests in a file."""
    nodes = ast.parse((ROOT / file).read_text()).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_requirement_has_a_row() -> None:
    assert [number for number, _, _ in rows()] == list(range(1, COUNT + 1))


def test_every_test_that_is_named_is_there() -> None:
    assert [f"{number}: {file}::{test}" for number, file, test in rows() if test not in named_in(file)] == []


def test_code_3_is_not_among_ours() -> None:
    """It tells the runtime that it need not DEL (requirement 52)."""
    assert 3 not in {value for name, value in vars(errors).items() if name.isupper()}
