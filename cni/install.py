"""Puts the plugin where runtimes look for it: binary and sidecar first, the network configuration last, each by rename.

Never in place: executing a file that is open for writing fails (ETXTBSY, man 2 execve), and a runtime may read at any moment. The
node is ready for pods once the configuration is there, so it comes when the rest, the agent too, works.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cni.bytecode import python_shim
from cni.compiling import compiled_shim
from romana.errors import NotFound, Refused, Unavailable

__all__ = [
    "BANDWIDTH",
    "BINARY",
    "CONFLIST",
    "PORT_MAPPING",
    "Chained",
    "Found",
    "Shim",
    "install",
    "install_binary",
    "install_conflist",
    "others",
    "refuse_foreign",
    "uninstall",
]

BINARY = "romana"
CONFLIST = "10-romana.conflist"

# New runtimes take the highest of cniVersions; old ones know cniVersion only, and podman 4.3 and containerd 1.6 fail on 1.1.0.
CNI_VERSION = "1.0.0"
SIGN = b"/run/romana/agent.sock"
"""Stands in every shim of ours: the socket that it takes without a sidecar."""
CNI_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


class Shim(StrEnum):
    """Which of the two programs."""

    AUTO = "auto"
    """The compiled one where it can be made, else the Python one."""
    C = "c"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Chained:
    """A standard plugin that runs after ours."""

    type: str
    capability: str

    def document(self) -> dict[str, Any]:
        """Its entry in the list of plugins."""
        return {"type": self.type, "capabilities": {self.capability: True}}


PORT_MAPPING = Chained("portmap", "portMappings")
BANDWIDTH = Chained("bandwidth", "bandwidth")


@dataclass(frozen=True, slots=True)
class Found:
    """Another network configuration in the folder; ours or not, the first in lexical order is the one that runtimes use."""

    path: Path
    name: str
    """The network's, empty where the file cannot be read as a configuration."""
    comes_first: bool


def install(bin_dir: Path, conf_dir: Path, agent_socket: str, *, conf_name: str = "romana", shim: Shim = Shim.AUTO) -> Path:
    """Everything, with an agent that is known to answer; returns the conflist's path. Safe to repeat."""
    install_binary(bin_dir, agent_socket, shim)
    return install_conflist(conf_dir, conf_name)[0]


def install_binary(bin_dir: Path, agent_socket: str, shim: Shim) -> tuple[Shim, str, bool]:
    """Binary and sidecar; tells which shim it is, why not the compiled one, and whether anything changed.

    Raises NotFound or Unavailable when `shim` asks for the compiled one and it cannot be made.
    """
    bin_dir.mkdir(parents=True, exist_ok=True)
    kind, why, program = _program(shim)
    changed = _write(bin_dir / f"{BINARY}.socket", f"{agent_socket}\n".encode(), 0o644)
    return kind, why, _write(bin_dir / BINARY, program, 0o755) or changed


def install_conflist(
    conf_dir: Path, conf_name: str = "romana", *, options: Mapping[str, Any] | None = None, chained: Sequence[Chained] = ()
) -> tuple[Path, bool]:
    """The network configuration, and whether it changed. `options` are keys of our own plugin, as {"mtu": 1450}."""
    conf_dir.mkdir(parents=True, exist_ok=True)
    target = conf_dir / CONFLIST
    return target, _write(target, conflist_document(conf_name, options or {}, chained), 0o644)


def conflist_document(conf_name: str, options: Mapping[str, Any], chained: Sequence[Chained]) -> bytes:
    """The network configuration list that we ship."""
    document = {
        "cniVersion": CNI_VERSION,
        "cniVersions": CNI_VERSIONS,
        "name": conf_name,
        "plugins": [{"type": BINARY, **options}, *(plugin.document() for plugin in chained)],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def others(conf_dir: Path) -> list[Found]:
    """The configurations there that are not ours, in the order that runtimes read them in."""
    found = (path for suffix in ("conf", "conflist", "json") for path in conf_dir.glob(f"*.{suffix}"))
    # libcni passes folders by, and goes by the entry itself: a link to one it tries to read (pkg libcni, conf.go, ConfFiles).
    files = sorted(path for path in found if path.is_symlink() or not path.is_dir())
    return [Found(path, _name(path), path.name < CONFLIST) for path in files if path.name != CONFLIST]


def refuse_foreign(bin_dir: Path, conf_dir: Path) -> None:
    """Raise Refused for a program or a configuration of our names that is somebody else's."""
    conflist, program = conf_dir / CONFLIST, bin_dir / BINARY
    if conflist.exists() and BINARY not in _types(conflist):
        raise Refused(f"{conflist} is of another plugin ({', '.join(_types(conflist)) or 'unreadable'}); it is left alone")
    if program.exists() and not _is_ours(program):
        raise Refused(f"{program} is another program (it has no {SIGN!r}); it is left alone: move it away, or use another folder")


def uninstall(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Remove what `install` wrote, the conflist first; tells what was there. Raises Refused for a conflist that is another's."""
    refuse_foreign(bin_dir, conf_dir)
    conflist = conf_dir / CONFLIST
    removed = [path for path in (conflist, bin_dir / BINARY, bin_dir / f"{BINARY}.socket") if path.exists()]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _program(shim: Shim) -> tuple[Shim, str, bytes]:
    why = ""
    if shim is not Shim.PYTHON:
        try:
            return Shim.C, "", compiled_shim()
        except (NotFound, Unavailable) as err:
            if shim is Shim.C:
                raise
            why = str(err)
    return Shim.PYTHON, why, python_shim()


def _is_ours(program: Path) -> bool:
    """Both shims name our socket."""
    try:
        return SIGN in program.read_bytes()
    except OSError:
        return False


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(path: Path) -> str:
    return str(_document(path).get("name", ""))


def _types(path: Path) -> list[str]:
    document = _document(path)
    listed = document.get("plugins", [document])
    plugins = listed if isinstance(listed, list) else []
    return [str(plugin["type"]) for plugin in plugins if isinstance(plugin, dict) and "type" in plugin]


def _write(target: Path, content: bytes, mode: int) -> bool:
    """False when it was there, just so."""
    if target.is_file() and target.read_bytes() == content and target.stat().st_mode & 0o777 == mode:
        return False
    part = target.with_name(f".{target.name}.{os.getpid()}.part")  # a leading dot: runtimes load *.conflist only
    try:
        part.write_bytes(content)
        part.chmod(mode)
        part.rename(target)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return True
