"""What documents and docstrings point to is there."""

import re
from pathlib import Path

import pytest

from tests.stubs import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "requirements").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
MENTION = re.compile(r"\bdocs/[\w/.-]+\.md\b")
SECTION = re.compile(r'\b(docs/[\w/.-]+\.md), "([^"]+)"')
SOURCES = [
    path for folder in ("ipam", "cni", "routed", "romana", "proto", "tests", "bench") for path in (ROOT / folder).rglob("*.*")
]


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    dead = []
    for name, anchor in LINK.findall(document.read_text()):
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{name}#{anchor}")
    assert dead == []


def test_every_document_that_a_source_names_is_there() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in SOURCES if path.suffix in {".py", ".proto"}}
    assert [(name, found) for name, text in texts.items() for found in MENTION.findall(text) if not (ROOT / found).exists()] == []


def test_every_section_that_a_source_names_is_there() -> None:
    named = {found for path in SOURCES if path.suffix == ".py" for found in SECTION.findall(path.read_text())}
    assert [(name, title) for name, title in named if f"# {title}\n" not in (ROOT / name).read_text()] == []
