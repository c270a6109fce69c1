"""The Python shim as it is installed: cni/shim.py compiled by the interpreter that will run it, its source beside that.

Reading and compiling 300 lines is a quarter of what a call of the shim costs. The program that is written is one file, as a
runtime's folder wants it; an interpreter of another version than the one that compiled it, after an upgrade, takes the source.
"""

import subprocess
from functools import cache
from pathlib import Path

__all__ = ["packed", "python_shim"]

SOURCE = Path(__file__).parent / "shim.py"
INTERPRETER = "/usr/bin/python3"
"""That of the shim's first line."""
COMPILE = (
    "import importlib.util, marshal, sys\n"
    "code = compile(sys.stdin.buffer.read(), 'romana', 'exec', dont_inherit=True, optimize=2)\n"
    "sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + marshal.dumps(code))\n"
)
MAGIC_BYTES = 4  # importlib.util.MAGIC_NUMBER: changes whenever code objects of one version mean something else in the next
TIMEOUT_S = 60.0

PROGRAM = """\
{first_line}
# The CNI plugin of romana, written by `romana node install`: cni/shim.py, compiled for one version of Python, and as it is.
import _frozen_importlib_external as interpreter
import marshal

COMPILED = {code!r}
SOURCE = {source!r}
exec(marshal.loads(COMPILED) if interpreter.MAGIC_NUMBER == {magic!r} else SOURCE)
"""


def python_shim() -> bytes:
    """The program; cni/shim.py itself where the interpreter is not there to compile it."""
    return packed(SOURCE.read_bytes())


@cache
def packed(source: bytes) -> bytes:
    """A program that is this source, compiled where that can be."""
    try:
        command = [INTERPRETER, "-I", "-S", "-c", COMPILE]
        compiled = subprocess.run(command, input=source, capture_output=True, check=True, timeout=TIMEOUT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return source
    first_line = source.partition(b"\n")[0].decode()
    magic, code = compiled[:MAGIC_BYTES], compiled[MAGIC_BYTES:]
    return PROGRAM.format(first_line=first_line, code=code, source=source, magic=magic).encode()
