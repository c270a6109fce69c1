"""`./dev` on a tree of its own: a copy of the script, an empty lock, and a project that builds without any package."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stubs import ROOT

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = '''
"""The smallest build backend that gives an editable install (PEP 660)."""
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "tried-1-py3-none-any.whl", "tried-1.dist-info/"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("tried.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tried\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", f"tried.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n")
    return name
'''
READY = "dev: ready after"


def dev(tree: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a tree's `dev` from another directory, without terminal and stdin; stdout holds stderr too."""
    command = [str(tree / "dev"), *args]
    out = subprocess.PIPE
    return subprocess.run(
        command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that is set up; the space in its path is on purpose."""
    planted = tmp_path_factory.mktemp("dev") / "a tree"
    (planted / "requirements").mkdir(parents=True)
    (planted / "requirements/lock.txt").write_text("")
    (planted / "pyproject.toml").write_text(PYPROJECT)
    (planted / "backend.py").write_text(BACKEND)
    shutil.copy2(ROOT / "dev", planted)
    first = dev(planted, "setup")
    assert first.returncode == 0, first.stdout
    assert [line for line in ("dev: venv: ", "dev: dependencies: ", "dev: romana: ", READY) if line not in first.stdout] == []
    return planted


def test_second_setup_changes_nothing_and_is_quick(tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tree / ".venv").iterdir()}
    again = dev(tree, "setup")
    assert again.returncode == 0
    assert again.stdout.startswith(READY), again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tree / ".venv").iterdir()}


def test_changed_pyproject_installs_the_project_alone(tree: Path) -> None:
    with (tree / "pyproject.toml").open("a") as pyproject:
        pyproject.write("# changed\n")
    again = dev(tree, "setup").stdout
    assert "dev: romana: " in again
    assert "dev: venv: " not in again


def test_setup_that_was_killed_half_way_is_done_anew_and_two_at_once_wait_for_each_other(tree: Path) -> None:
    (tree / ".venv/stamp-lock").unlink()
    command, pipe = [str(tree / "dev"), "setup"], subprocess.PIPE
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True) for _ in "ab"
    ]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert sum("dev: venv: a Python" in output for output in outputs) == 1, outputs


def test_step_that_fails_shows_what_it_said_and_leaves_no_stamp(tree: Path) -> None:
    pyproject, stamp = tree / "pyproject.toml", tree / ".venv/stamp-project"
    right, stamped = pyproject.read_text(), stamp.read_text()
    pyproject.write_text(right.replace('"backend"', '"absent"'))
    failed = dev(tree, "setup")
    pyproject.write_text(right)
    assert failed.returncode == 2, failed.stdout  # pip's own code
    assert "No module named 'absent'" in failed.stdout
    assert "romana: FAILED with exit code 2" in failed.stdout
    assert READY not in failed.stdout
    assert stamp.read_text() == stamped


def test_help_names_every_command(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT / "dev")
    for command in ([str(ROOT / "dev")], [str(tmp_path / "link"), "help"]):
        told = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
        assert [name for name in ("setup", "demo", "test", "proto", "lock") if f"./dev {name}" not in told] == []


def test_unknown_command_is_a_usage_error() -> None:
    refused = dev(ROOT, "tset")
    assert refused.returncode == 2
    assert "./dev setup" in refused.stdout


def test_continuous_integration_runs_the_same_tests() -> None:
    assert 'dev" test' in (ROOT / ".ci/run").read_text()
