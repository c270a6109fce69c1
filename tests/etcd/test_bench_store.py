"""The store's benchmark, small: every figure beside etcd's own, and no etcd and no directory outlives it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from romana.bench.etcd_limit import Limit
from romana.bench.etcd_server import PREFIX, throw_away
from romana.bench.store import Sizes, measure
from romana.errors import ConfigError

pytestmark = [pytest.mark.etcd]

PLACE = Path("/var/tmp")


def directories(pid: int) -> list[Path]:
    return list(PLACE.glob(f"{PREFIX}{pid}-*"))


def test_every_figure_of_ours_stands_beside_etcds_own() -> None:
    report = asyncio.run(measure(Sizes(callers=(1, 4), writes=20, keys=1200, events=20), lambda _: None))
    found = {series.name for series, _ in report.ratios()}
    writes = {f"{what}, {who}: {of}" for what in ("put", "compare-and-swap") for who in ("1 caller", "4 callers") for of in KINDS}
    watch = {"watch, catching up: events", "watch: from the put to the watcher"}
    assert found == {*writes, "list of 1200 keys in pages of 500", *watch}
    assert all(sample > 0 for series in report.series for sample in series.samples)
    assert directories(os.getpid()) == []


KINDS = ("rate", "time")


def test_the_limit_does_what_it_says() -> None:
    async def used(target: str) -> tuple[bool, bool, int]:
        async with Limit(target) as limit:
            first, second = await limit.create(b"a/0", b"v"), await limit.create(b"a/0", b"w")
            for number in range(1, 7):
                await limit.put(f"a/{number}".encode(), b"v")
            return first, second, await limit.range_all(b"a/", b"a0", 3)

    with throw_away() as etcd:
        assert asyncio.run(used(etcd.target)) == (True, False, 7)


def test_an_etcd_of_a_killed_benchmark_ends_with_it_and_the_next_one_removes_its_directory() -> None:
    body = "with throw_away():\n    print('up', flush=True)\n    time.sleep(600)"
    code = f"import time\nfrom romana.bench.etcd_server import throw_away\n{body}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        (left,) = directories(process.pid)
        process.send_signal(signal.SIGKILL)
    _until_nobody_is_in(left)
    with throw_away():
        assert not left.exists()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="etcd, setpriv not found"), throw_away():
        pass


def _until_nobody_is_in(directory: Path) -> None:
    deadline = time.monotonic() + 60
    while any(_is_in(path, directory) for path in Path("/proc").glob("[0-9]*/cwd")):
        assert time.monotonic() < deadline, f"a process still works in {directory}"
        time.sleep(0.05)


def _is_in(link: Path, directory: Path) -> bool:
    try:
        return link.readlink() == directory
    except OSError:
        return False
