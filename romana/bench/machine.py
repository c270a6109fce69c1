"""The machine that a benchmark ran on, as its report tells of it."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["describe", "now"]


def describe() -> dict[str, object]:
    """Processors, memory, kernel, distribution, Python, and how busy it was; no name or address of the machine."""
    return {
        "processors": os.cpu_count(),
        "processor": _processor(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def now() -> str:
    """The time of day for a report: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():  # proc(5)
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
