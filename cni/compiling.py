"""The compiled shim, made from cni/shim.c where there is a compiler."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from romana.errors import NotFound, Unavailable

__all__ = ["compiled_shim"]

SOURCE = Path(__file__).parent / "shim.c"
COMPILERS = ("cc", "gcc", "clang", "musl-gcc")
OPTIONS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
TIMEOUT_S = 60.0


@cache
def compiled_shim(*more: str) -> bytes:
    """The program; raises NotFound without a compiler, Unavailable when what it makes does not work here.

    `more` goes to the compiler. Static where that can be, so that it runs whatever libraries the runtime's machine has.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NotFound(f"no C compiler ({', '.join(COMPILERS)}) on the PATH; apt-get install gcc libc6-dev brings one")
    with tempfile.TemporaryDirectory(prefix="romana-shim-") as folder:
        program = Path(folder) / "shim"
        why = ""
        for linking in (["-static"], []):
            done = _run([compiler, *OPTIONS, *more, *linking, "-o", str(program), str(SOURCE)])
            if done.returncode == 0 and _works(program):
                return program.read_bytes()
            why = done.stderr.strip() or f"{program.name} does not answer VERSION"
    raise Unavailable(f"{compiler} makes no shim that works: {why}")


def _works(program: Path) -> bool:
    try:
        done = subprocess.run([program], env={"CNI_COMMAND": "VERSION"}, input="", capture_output=True, text=True, check=False)
        return "supportedVersions" in json.loads(done.stdout)
    except (OSError, ValueError):  # made for another machine, or not allowed to be executed there
        return False


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as err:
        raise Unavailable(f"{command[0]} did not finish within {TIMEOUT_S:g} s") from err
