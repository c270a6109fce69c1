"""Processes of a lab: started detached, watched by pidfd, told apart by their start time so that a reused pid is never touched.

A record `<run>/pids/<id>.json` is `{"pid": 123, "started": 456789}`; `started` is field 22 of /proc/<pid>/stat (man 5 proc).
Whoever starts a process may be killed before it writes that down: so each is born with a mark in its environment, by which
`marked` finds it without a record.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from romana.lab.namespaces import enter
from romana.lab.spec import LabSpec, ProcessSpec

__all__ = [
    "SUPERVISOR",
    "Running",
    "adopt",
    "keepers",
    "marked",
    "of_programs_in",
    "read_all",
    "read_one",
    "record",
    "spawn",
    "stop_all",
    "stop_keepers",
    "stop_marked",
    "write_atomically",
]

STOP_GRACE_S = 3.0

SUPERVISOR = "romana.lab.supervisor"
"""The module that keeps a lab's processes running. Its command line, and that of the guard around it, end with the lab's name."""

MARK = "LAB_PROCESS"
"""Environment variable of every process of a lab: `<lab>/<id>`. It is there from execve(2) on, which no kill can divide."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process as it was recorded."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """True while this very process runs; a zombie does not."""
        return _start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process; without effect when it is gone. A pidfd closes the race with a reused pid."""
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)


def spawn(lab: LabSpec, spec: ProcessSpec) -> Running:
    """Start a process in its namespace, its output appended to `<run>/log/<id>.log`, and record it."""
    path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    environ = {"PATH": path, "ROMANA_CONFIG": spec.config, MARK: f"{lab.name}/{spec.id}"}
    log = lab.run / "log" / f"{spec.id}.log"
    if spec.stale_socket:
        Path(spec.stale_socket).unlink(missing_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            enter(spec.netns, spec.command),
            cwd=spec.cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return record(lab, spec.id, process.pid)


def record(lab: LabSpec, process_id: str, pid: int) -> Running:
    """Write down a process that runs now."""
    running = Running(pid, _start_time(pid) or 0)
    write_atomically(lab.run / "pids" / f"{process_id}.json", json.dumps({"pid": running.pid, "started": running.started}))
    return running


def adopt(lab: LabSpec) -> None:
    """Record what runs of a lab without a record. Only for whoever knows that nobody starts anything meanwhile."""
    for process_id, found in marked(lab.name).items():
        if read_one(lab, process_id) is None and found[0].alive:
            record(lab, process_id, found[0].pid)


def marked(name: str) -> dict[str, list[Running]]:
    """Id -> processes of a lab that bear its mark, recorded or not; the one that was started, not what it started itself."""
    found: dict[str, list[Running]] = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        running = Running(pid, _start_time(pid) or 0)
        with contextlib.suppress(OSError):
            variables = path.read_bytes().decode(errors="replace").split("\0")
            # What a daemon starts inherits its environment but leads no session (setsid(2)).
            if os.getsid(pid) == pid and (mark := _mark(variables, name)):
                found.setdefault(mark, []).append(running)
    return found


def of_programs_in(folder: Path) -> list[Running]:
    """Every process whose command line names something in that folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(path.parent.name)
        running = Running(pid, _start_time(pid) or 0)
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if any(word.startswith(f"{folder}/") for word in words):
                found.append(running)
    return found


def _mark(variables: Sequence[str], name: str) -> str:
    marks = [text.removeprefix(f"{MARK}={name}/") for text in variables if text.startswith(f"{MARK}={name}/")]
    return marks[0] if marks else ""


def read_one(lab: LabSpec, process_id: str) -> Running | None:
    """The process of that id if it is alive."""
    try:
        value = json.loads((lab.run / "pids" / f"{process_id}.json").read_text())
        running = Running(value["pid"], value["started"])
    except (OSError, ValueError, KeyError):
        return None
    return running if running.alive else None


def read_all(lab: LabSpec) -> dict[str, int]:
    """Id -> pid of every recorded process that is alive."""
    ids = sorted(path.stem for path in (lab.run / "pids").glob("*.json"))
    return {process_id: running.pid for process_id in ids if (running := read_one(lab, process_id))}


def stop_all(lab: LabSpec, ids: Iterable[str]) -> None:
    """End these processes in the order given: SIGTERM to all, after a grace SIGKILL to whoever is left."""
    _stop([found for process_id in ids if (found := read_one(lab, process_id))])


def stop_marked(name: str) -> None:
    """End what else runs of a lab, recorded or not."""
    _stop([running for found in marked(name).values() for running in found])


def keepers(name: str) -> list[Running]:
    """All guards and supervisors of a lab, recorded or not: whoever started one may have been killed before writing it down."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        running = Running(int(path.parent.name), _start_time(int(path.parent.name)) or 0)
        with contextlib.suppress(OSError):
            *command, _ = path.read_bytes().decode(errors="replace").split("\0")
            # Both are `PROGRAM OPTION WHAT ... LAB`.
            if len(command) > 3 and command[-1] == name and SUPERVISOR in command[2]:
                found.append(running)
    return found


def stop_keepers(name: str) -> None:
    """End all guards and supervisors of a lab; afterwards nobody starts anything of it again."""
    while running := [process for process in keepers(name) if process.alive]:
        for process in running:
            _end_group(process)
        _stop(running)


def _end_group(leader: Running) -> None:
    """A guard leads a group (setsid(2)): a supervisor just forked, that no list shows by its name yet, is in it."""
    with contextlib.suppress(ProcessLookupError):
        if leader.alive and os.getpgid(leader.pid) == leader.pid:
            os.killpg(leader.pid, signal.SIGTERM)


def _stop(running: Sequence[Running]) -> None:
    for process in running:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_GRACE_S
    while any(process.alive for process in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in running:
        process.signal(signal.SIGKILL)
    while any(process.alive for process in running):
        time.sleep(0.02)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.replace(path)


def _start_time(pid: int) -> int | None:
    try:
        # The command name may hold spaces and brackets: fields are counted behind its last ')'.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
