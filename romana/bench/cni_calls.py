"""Executes CNI plugins as a runtime does, one at a time or many at once, and takes the time of whole processes. Blocking."""

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from romana.errors import FatalError

__all__ = ["Burst", "Plugin", "Target", "burst", "cpu_ms", "resident_mib"]

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin and its configuration."""

    name: str
    binary: Path
    conf: Mapping[str, object]
    path: str
    """CNI_PATH: where it finds the plugins that it calls."""


@dataclass(frozen=True, slots=True)
class Target:
    """A pod to attach: its network namespace and what the runtime says of it."""

    netns: Path
    args: str
    container_id: str

    @classmethod
    def of(cls, netns: Path, args: str) -> "Target":
        """With an id of its own, as every sandbox has."""
        return cls(netns, args, secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Burst:
    """What a number of calls at once took."""

    total_ms: float
    """From the first start to the last end."""
    each_ms: tuple[float, ...]
    cpu_ms: float
    """CPU of all plugin processes together, and of those that they started."""


def burst(plugin: Plugin, command: str, targets: Sequence[Target]) -> Burst:
    """Call for every target at once; raises FatalError when one fails. In the calling thread's network namespace."""
    stdin = json.dumps(plugin.conf).encode()
    started: dict[int, tuple[float, int]] = {}
    began = time.perf_counter()
    for target in targets:
        at = time.perf_counter()
        pid, output = _start(plugin, command, target, stdin)
        started[pid] = (at, output)
    each, cpu, failed = [], 0.0, ""
    while started:
        pid, status, usage = os.wait4(-1, 0)  # in the order in which they end
        ended = time.perf_counter()
        if pid not in started:  # a process of the lab
            continue
        at, output = started.pop(pid)
        each.append((ended - at) * 1000)
        cpu += (usage.ru_utime + usage.ru_stime) * 1000
        said = _read(output)
        failed = failed or (f"{plugin.name} {command}: {said}" if status else "")
    if failed:
        raise FatalError(failed)
    return Burst((ended - began) * 1000, tuple(each), cpu)


def _start(plugin: Plugin, command: str, target: Target, stdin: bytes) -> tuple[int, int]:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": target.container_id,
        "CNI_NETNS": str(target.netns),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": plugin.path,
        "CNI_ARGS": target.args,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    source, feed = os.pipe2(os.O_CLOEXEC)
    output = os.memfd_create("output", os.MFD_CLOEXEC)  # no pipe: nobody need read while it runs
    os.write(feed, stdin)
    os.close(feed)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        return os.posix_spawn(plugin.binary, [str(plugin.binary)], environment, file_actions=actions), output
    finally:
        os.close(source)


def _read(output: int) -> str:
    with os.fdopen(output, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace").strip()


def cpu_ms(pid: int) -> float:
    """CPU that a process has used up to now, all its threads (man 5 proc_pid_stat, utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / CLOCK_TICKS


def resident_mib(pid: int) -> float:
    """Memory that a process has in use (man 5 proc_pid_status, VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise FatalError(f"process {pid} is gone")
