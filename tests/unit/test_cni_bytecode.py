"""The Python shim as it is installed; what it does: tests/unit/test_cni_shim.py."""

import json
import subprocess
from pathlib import Path

import pytest

from cni import bytecode
from cni.bytecode import SOURCE, packed, python_shim


def version(program: Path) -> list[str]:
    """What it answers to VERSION."""
    done = subprocess.run([program], env={"CNI_COMMAND": "VERSION"}, input=b"", capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return list(json.loads(done.stdout)["supportedVersions"])


def written(folder: Path, program: bytes) -> Path:
    path = folder / "romana"
    path.write_bytes(program)
    path.chmod(0o755)
    return path


def test_compiled_program_and_its_source_answer_alike(tmp_path: Path) -> None:
    program = python_shim()
    assert program.startswith(SOURCE.read_bytes().partition(b"\n")[0])
    assert b"marshal.loads" in program
    other = program.replace(b"MAGIC_NUMBER == b'", b"MAGIC_NUMBER == b'x")
    assert other != program
    found = [version(written(tmp_path, each)) for each in (program, other, SOURCE.read_bytes())]
    assert found[0] == found[1] == found[2]


def test_it_is_the_same_whenever_it_is_made() -> None:
    """Else an install would replace it each time."""
    once = python_shim()
    packed.cache_clear()
    assert python_shim() == once


def test_without_the_interpreter_it_is_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "INTERPRETER", "/nowhere/python3")
    packed.cache_clear()
    try:
        assert python_shim() == SOURCE.read_bytes()
    finally:
        packed.cache_clear()
