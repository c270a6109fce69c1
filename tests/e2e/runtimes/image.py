"""A container image of one static program, made here: no registry is asked.

The format is `docker save`'s (Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format"), which podman
and containerd both import.
"""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

__all__ = ["APPLETS", "write_archive"]

APPLETS = ("sh", "sleep", "ping", "ip", "nc", "cat")


def write_archive(target: Path, name: str) -> None:
    """Write an image that sleeps, with busybox for whoever executes something in it."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep", "2147483647"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as archive:
        for file, content in ((config_name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            _add(archive, file, content)


def _layer() -> bytes:
    busybox = shutil.which("busybox")
    assert busybox, "the probe has looked for it"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        _add(layer, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
