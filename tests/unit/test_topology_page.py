"""docs/topology.md is true: each of its documents loads and gives the table that follows it, and no key is left out."""

import re
from pathlib import Path

import pytest

from ipam.topology.carving import carve
from ipam.topology.reading import read_document

PAGE = (Path(__file__).parents[2] / "docs" / "topology.md").read_text()
EXAMPLES = re.findall(r"```(?:yaml|json)\n([^`]*)```\n\n\| Path .*\n\|-.*\n((?:\|.*\n)+)", PAGE)


def test_every_example_is_found() -> None:
    assert len(EXAMPLES) == PAGE.count("```") // 2 > 0


@pytest.mark.parametrize(("document", "table"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_gives_the_table_behind_it(document: str, table: str) -> None:
    prefixes = carve(read_document(document.encode()))
    rows = [f"| {p.path} | {p.cidr} | {'pad' if p.pad else p.name} |" for p in prefixes]
    assert rows == table.splitlines()


def test_every_key_has_its_row() -> None:
    network = ("name", "cidr", "block_mask", "tenants", "owner", "reserved", "cooldown_s", "dual", "fallback")
    for key in (*network, "assignment", "routing", "groups", "weight"):
        assert f"\n| `{key}` |" in PAGE
