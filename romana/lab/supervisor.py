"""Keeps the processes of one lab running: `python -m romana.lab.supervisor LAB` inside a loop of sh that restarts it too.

Each process is watched by its pidfd (man 2 pidfd_open), so that a supervisor that was itself killed adopts what outlived it,
recorded or not, instead of starting everything twice. A process that dies young is restarted with a pause that doubles up to 5 s.
Of several supervisors one works, the holder of a lock, and the others wait for its end: `lab up` starts a guard where none is
left, also beside a supervisor that outlived its guard.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time

from romana import logs
from romana.lab import processes
from romana.lab.record import load
from romana.lab.spec import LabSpec, ProcessSpec

__all__ = ["GUARD", "main"]

log = logging.getLogger(__name__)

LOCK = "supervisor.lock"
"""File of a lab that the working supervisor holds locked (man 2 flock); no process that it starts inherits it."""
PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 5.0
YOUNG_S = 5.0  # a process that lived longer starts again at once

GUARD = f'while [ -e "$1" ]; do "$2" -m {processes.SUPERVISOR} "$3"; [ $? -eq 0 ] && break; sleep 0.2; done'
"""Run as `sh -c GUARD sh <lab record> <python> <lab>`: restarts the supervisor for as long as the lab exists."""


async def _keep(lab: LabSpec, spec: ProcessSpec) -> None:
    """Run one process for ever."""
    pause = PAUSE_FIRST_S
    while True:
        running = processes.read_one(lab, spec.id) or processes.spawn(lab, spec)
        began = time.monotonic()
        log.info("process runs", extra={"id": spec.id, "pid": running.pid})
        await _ended(running.pid)
        _reap(running.pid)
        pause = PAUSE_FIRST_S if time.monotonic() - began > YOUNG_S else min(pause * 2, PAUSE_MAX_S)
        log.warning("process died; starting it again", extra={"id": spec.id, "pid": running.pid, "pause_s": pause})
        await asyncio.sleep(pause)


async def _ended(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _reap(pid: int) -> None:
    # An adopted process is not our child: whoever inherited it reaps it.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


async def _supervise(lab: LabSpec) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    keepers = [asyncio.create_task(_keep(lab, spec), name=spec.id) for spec in lab.processes()]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, *keepers):
        task.cancel()
    await asyncio.gather(stopped, *keepers, return_exceptions=True)
    for task in done:
        task.result()


def main() -> None:
    """Entry of the module; exits with 0 only when it was told to stop."""
    lab = load(sys.argv[1])
    logs.set_up("INFO")
    with (lab.run / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes.record(lab, "supervisor", os.getpid())
        # Sound here: a child that a killed predecessor had forked shares its lock until it executes, and bears its mark then.
        processes.adopt(lab)
        asyncio.run(_supervise(lab))


if __name__ == "__main__":
    main()
