"""The generated stubs in the tree are those that the protos give."""

from pathlib import Path

import pytest

from tests.stubs import ROOT, SETS, generate


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all stubs, written anew."""
    target = tmp_path_factory.mktemp("stubs")
    generate(target)
    return target


def contents(folder: Path) -> dict[str, str]:
    """Text of every source file of a folder, by name."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("package", SETS)
def test_stubs_in_the_tree_are_what_the_protos_give(package: str, regenerated: Path) -> None:
    found, expected = contents(ROOT / package), contents(regenerated / package)
    assert found.keys() == expected.keys()
    drifted = [name for name in expected if found[name] != expected[name]]
    assert not drifted, "run ./dev proto and commit what it writes"


@pytest.mark.parametrize("package", SETS)
def test_every_proto_has_stubs(package: str, regenerated: Path) -> None:
    protos = {path.stem for path in SETS[package].glob("*.proto")}
    assert protos == {path.stem.removesuffix("_pb2") for path in (regenerated / package).glob("*_pb2.py")}
