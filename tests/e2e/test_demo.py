"""`./dev demo` as a newcomer runs it: twice at once, and after one that was killed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from romana.lab.processes import keepers
from tests.e2e.conftest import ROMANA

pytestmark = [pytest.mark.e2e]


def start() -> subprocess.Popen[str]:
    """A demo that heeds signals, also where this test runs in the background of a shell, which has them ignored."""
    heeding = ["env", "--default-signal=INT,HUP,TERM"]
    return subprocess.Popen(
        [*heeding, ROMANA, "lab", "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def leftovers(pid: int) -> list[str]:
    return [
        str(path) for root in ("/run/netns", "/run/romana-lab", "/var/lib/romana-lab") for path in Path(root).glob(f"demo-{pid}*")
    ]


@pytest.mark.timeout(180)
def test_two_demos_at_once_work_and_clear_away_one_that_was_killed() -> None:
    killed = start()
    assert killed.stdout is not None
    said = []
    for line in killed.stdout:
        said.append(line)
        if line.startswith("2."):
            break
    assert said[-1].startswith("2."), "".join(said)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert leftovers(killed.pid)
    demos = [start(), start()]
    outputs = [demo.communicate(timeout=170)[0] for demo in demos]
    assert [demo.returncode for demo in demos] == [0, 0], "\n".join(outputs)
    for demo, output in zip(demos, outputs, strict=True):
        assert "Every packet did what it should" in output
        assert " 0 lost" in output
        assert "What to try next" in output
        assert leftovers(demo.pid) == []
    assert leftovers(killed.pid) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("step", ["1.", "[", "3."])
def test_a_demo_that_is_told_to_stop_leaves_nothing_behind(number: signal.Signals, step: str) -> None:
    demo = start()
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(step):
            break
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, output
    assert leftovers(demo.pid) == []
    gone_by = time.monotonic() + 30  # what was told to end may still be at it
    while keepers(f"demo-{demo.pid}") and time.monotonic() < gone_by:
        time.sleep(0.1)
    assert keepers(f"demo-{demo.pid}") == []
