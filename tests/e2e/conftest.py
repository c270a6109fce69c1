"""One lab of three nodes per test process, driven by the command line as a user drives it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.policy_guard import guard
from tests.e2e.policy_world import Stage, World, stage

ROMANA = str(Path(sys.executable).parent / "romana")


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """True as soon as the condition holds; False when it never did."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def run(command: Sequence[str], stdin: str = "", environ: Mapping[str, str] | None = None, timeout_s: float = 120) -> Done:
    """Run a program to its end."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, **(environ or {})},
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up."""

    name: str
    up: dict[str, Any]
    """The JSON of `lab up`."""

    def romana(self, *arguments: str, stdin: str = "") -> Done:
        """The command line, configured for this lab."""
        return run([ROMANA, *arguments], stdin, {"ROMANA_CONFIG": self.up["config"]})

    def node(self, name: str) -> dict[str, Any]:
        """A node as `lab up` described it."""
        return next(dict(node) for node in self.up["nodes"] if node["name"] == name)

    def status(self) -> Any:
        """The JSON of `lab status`, with the pids of this moment."""
        return run([ROMANA, "lab", "status", "--name", self.name, "-o", "json"]).json

    def add_pod(self, name: str, node: str, *options: str) -> dict[str, Any]:
        """`lab pod add`, which must succeed."""
        done = run([ROMANA, "lab", "pod", "add", name, "--lab", self.name, "--node", node, "-o", "json", *options])
        assert done.code == 0, done.err
        return dict(done.json)

    def delete_pod(self, name: str, namespace: str = "default") -> Done:
        """`lab pod del`."""
        return run([ROMANA, "lab", "pod", "del", name, "--lab", self.name, "--namespace", namespace])

    def routes(self, node: str) -> list[dict[str, Any]]:
        """The routes of a node, as `ip -j route` tells them."""
        done = run(["ip", "-n", Path(self.node(node)["netns"]).name, "-j", "-d", "route", "show", "table", "all"])
        return list(json.loads(done.out))


def bring_up(name: str, *options: str) -> Lab:
    """`lab up`, which must succeed."""
    done = run([ROMANA, "lab", "up", "--name", name, "-o", "json", *options])
    assert done.code == 0, done.err
    return Lab(name, done.json)


def take_down(name: str) -> None:
    """`lab down`, which must succeed."""
    done = run([ROMANA, "lab", "down", "--name", name])
    assert done.code == 0, done.err


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three nodes with the default topology; tests leave no pod and no foreign change behind."""
    name = f"t{os.getpid()}"
    try:
        yield bring_up(name)
    finally:
        take_down(name)


@pytest.fixture(scope="module")
def live(lab: Lab) -> Iterator[Stage]:
    """The process's lab, to be brought to what cases of policy say; its pods stay for the module's tests."""
    with stage(lab.name) as made:
        yield made


@pytest.fixture
def guarded(live: Stage) -> World:
    """The scene of tests.e2e.policy_guard in it."""
    live.run(guard(live.world))
    return live.world
