"""The rules of the tree that a machine can check; docs/adr/0003-package-layout.md has the reasons."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stubs import ROOT, SETS

SHIPPED = ("ipam", "cni", "policyd", "routed", "romana")
LINES_MAX = 500
NAMELESS = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "handler"}
ACTING_PACKAGES = {"romana.store", "romana.kube", "romana.reconcile", "romana.v1"}
ACTING_LIBRARIES = {"asyncio", "grpc", "pyroute2", "subprocess", "socket", "threading", "time"}


def sources(*folders: str) -> list[Path]:
    """Python files of ours below these folders, without generated ones."""
    generated = {ROOT / package for package in SETS}
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if path.parent not in generated)


def module_name(path: Path) -> str:
    """Dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def docstring(path: Path) -> str:
    """A module's docstring; empty when it has none."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def is_pure(path: Path) -> bool:
    """Whether a module says so of itself."""
    return "Pure." in docstring(path).partition("\n")[0]


def is_below(module: str, packages: set[str]) -> bool:
    """Whether a module is one of these packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports(path: Path) -> Iterator[str]:
    """Every name that a module imports, also inside functions: `a.b` for both `import a.b` and `from a import b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def contract(name: str) -> set[str]:
    """Source modules of the import contract whose name begins so."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (entry for entry in settings if entry["name"].startswith(name))
    return set(found["source_modules"])


def test_no_file_is_too_long_to_read() -> None:
    files = [
        *sources(*SHIPPED, "tests", "bench"),
        ROOT / "dev",
        *(ROOT / "tests").rglob("*.sh"),
        *(ROOT / "proto").rglob("*.proto"),
    ]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_every_module_says_what_it_is() -> None:
    parts = [*sources(*SHIPPED), *(path for path in sources("tests", "bench") if path.read_text())]
    assert [module_name(path) for path in parts if not docstring(path)] == []


def test_every_module_is_named_for_what_it_is_about() -> None:
    parts = {module_name(path): set(module_name(path).split(".")) for path in sources(*SHIPPED, "tests", "bench")}
    assert [name for name, words in parts.items() if words & NAMELESS] == []


@pytest.mark.parametrize("path", [path for path in sources(*SHIPPED) if is_pure(path)], ids=module_name)
def test_pure_module_imports_nothing_that_acts(path: Path) -> None:
    own = {package for package in ACTING_PACKAGES if is_below(module_name(path), {package})}  # these have pure parts too
    assert [name for name in imports(path) if is_below(name, ACTING_LIBRARIES | ACTING_PACKAGES - own)] == []


def test_pure_module_imports_only_pure_modules_of_ours() -> None:
    ours = {module_name(path): path for path in sources(*SHIPPED)}
    pure = {name for name, path in ours.items() if is_pure(path)}
    acting = []
    for name in pure - {name for name in pure if is_below(name, ACTING_PACKAGES)}:
        imported = {found if found in ours else found.rpartition(".")[0] for found in imports(ours[name])}
        acting += [f"{name} imports {found}" for found in imported & ours.keys() - pure]
    assert acting == []


def test_module_in_the_contract_of_pure_modules_says_so() -> None:
    ours = {module_name(path): path for path in sources(*SHIPPED)}
    assert [name for name, path in ours.items() if is_below(name, contract("Pure modules")) and not is_pure(path)] == []


def test_every_module_that_is_not_on_the_top_floor_may_not_import_a_daemon() -> None:
    shared = contract("The shared package")
    top = {"romana.bench", "romana.cli", "romana.lab"}
    free = [name for name in map(module_name, sources("romana")) if name != "romana" and not is_below(name, shared | top)]
    assert free == [], "add to the contract in pyproject.toml"


@pytest.mark.parametrize("marker", ["etcd", "kernel", "e2e"])
def test_tests_in_the_folder_of_a_marker_carry_it(marker: str) -> None:
    folder = {path.name: path.read_text() for path in sources(f"tests/{marker}")}
    fixtures = folder.get("conftest.py", "")
    assert [name for name, text in folder.items() if name.startswith("test_") and f"mark.{marker}" not in text + fixtures] == []
