"""The record of a lab on disk: it is written before anything is made and removed after everything is gone."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from romana.errors import NotFound
from romana.lab.processes import write_atomically
from romana.lab.spec import RUN_ROOT, STATE_ROOT, LabSpec, from_json

__all__ = ["find", "forget", "load", "locked", "names", "save"]

RECORD = "lab.json"


def save(lab: LabSpec) -> None:
    """Write the record."""
    write_atomically(lab.run / RECORD, json.dumps(lab.to_json(), indent=2))


def find(name: str) -> LabSpec | None:
    """The lab of that name, or None."""
    path = RUN_ROOT / name / RECORD
    return from_json(json.loads(path.read_text())) if path.exists() else None


def load(name: str) -> LabSpec:
    """The lab of that name; raises NotFound naming those there are."""
    if lab := find(name):
        return lab
    there = ", ".join(names()) or "none"
    raise NotFound(f"there is no lab {name!r} (there: {there}); make it with: romana lab up --name {name}")


def names() -> list[str]:
    """All labs of this machine."""
    return sorted(path.parent.name for path in RUN_ROOT.glob(f"*/{RECORD}"))


def forget(name: str) -> None:
    """Remove a lab's folders, the record last."""
    shutil.rmtree(STATE_ROOT / name, ignore_errors=True)
    shutil.rmtree(RUN_ROOT / name, ignore_errors=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab for one `up` or `down` at a time; others wait. The lock's file goes with the lab."""
    RUN_ROOT.mkdir(parents=True, exist_ok=True)
    path = RUN_ROOT / f".{name}.lock"
    with _held(path):
        try:
            yield
        finally:
            if find(name) is None:
                path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    while True:
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever held it before may have removed the file: then the lock is on nothing, and another may hold a new file.
            if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return
