"""Counts CNI calls where they enter the agent: how long each took, how it ended, how many are under way."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cni.agent_locks import Abort
from cni.agent_server import Answer
from romana.counting import Distribution

__all__ = ["CallCounts"]

COMMANDS = frozenset({"ADD", "DEL", "CHECK", "STATUS", "GC"})
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class CallCounts:
    """Belongs to one agent."""

    seconds: Distribution = field(default_factory=lambda: Distribution(BOUNDS_S))
    """By command and code: `0`, or that of the error document (docs/cni.md)."""
    under_way: dict[str, int] = field(default_factory=lambda: dict.fromkeys(sorted((*COMMANDS, "other")), 0))
    """Calls that were taken and are not answered, by command: working, or waiting for a lock or another's answer."""

    def around(self, answer: Answer) -> Answer:
        """The same answers, counted."""

        async def counted(environ: Mapping[str, str], stdin: bytes, netns_fd: int | None, abort: Abort) -> tuple[int, bytes]:
            told = environ.get("CNI_COMMAND", "")
            command, began_s = told if told in COMMANDS else "other", time.monotonic()
            self.under_way[command] += 1
            code = "none"
            try:
                status, output = await answer(environ, stdin, netns_fd, abort)
                code = _code(status, output)
            finally:
                self.under_way[command] -= 1
                self.seconds.observe(time.monotonic() - began_s, command, code)
            return status, output

        return counted


def _code(status: int, output: bytes) -> str:
    """Of an answer: `0` for a success, else what the error document says (CNI spec 1.1, section 5 "Error")."""
    return "0" if status == 0 else str(int(json.loads(output)["code"]))
