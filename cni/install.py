"""Puts the plugin where runtimes look for it; the network configuration last, so that the node is ready only when the rest is."""

import json
import os
from pathlib import Path

__all__ = ["BINARY", "CONFLIST", "install", "uninstall"]

BINARY = "romana"
CONFLIST = "10-romana.conflist"

# New runtimes take the highest of cniVersions; old ones know cniVersion only, and podman 4.3 and containerd 1.6 fail on 1.1.0.
# 1.1.0 is not offered yet: containerd 2 then calls STATUS every few seconds, and a plugin that does not know it makes the node
# NotReady. A configuration of 1.1.0 that somebody writes is served all the same.
CNI_VERSION = "1.0.0"
CNI_VERSIONS = ("0.3.1", "0.4.0", "1.0.0")


def install(bin_dir: Path, conf_dir: Path, agent_socket: str, *, conf_name: str = "romana", conflist: str = CONFLIST) -> Path:
    """Write binary, sidecar and conflist, each by a temporary file and rename; returns the conflist's path. Safe to repeat.

    Never in place: executing a file that is open for writing fails (ETXTBSY, man 2 execve), and a runtime may read at any moment.
    """
    bin_dir.mkdir(parents=True, exist_ok=True)
    conf_dir.mkdir(parents=True, exist_ok=True)
    _write(bin_dir / f"{BINARY}.socket", f"{agent_socket}\n".encode(), 0o644)
    _write(bin_dir / BINARY, (Path(__file__).parent / "shim.py").read_bytes(), 0o755)
    target = conf_dir / conflist
    _write(target, conflist_document(conf_name), 0o644)
    return target


def uninstall(bin_dir: Path, conf_dir: Path, *, conflist: str = CONFLIST) -> None:
    """Remove what `install` wrote, the conflist first; nothing there is fine."""
    for path in (conf_dir / conflist, bin_dir / BINARY, bin_dir / f"{BINARY}.socket"):
        path.unlink(missing_ok=True)


def conflist_document(conf_name: str) -> bytes:
    """The network configuration list that we ship."""
    document = {
        "cniVersion": CNI_VERSION,
        "cniVersions": CNI_VERSIONS,
        "name": conf_name,
        "plugins": [{"type": BINARY}],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _write(target: Path, content: bytes, mode: int) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")  # a leading dot: runtimes load *.conflist only
    part.write_bytes(content)
    part.chmod(mode)
    part.rename(target)
