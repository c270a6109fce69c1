"""What `romana apply` and `delete` say: what became of each object, and how waiting for the nodes ended."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

import typer

from romana.cli.context import Exit
from romana.cli.output import print_json, say
from romana.objects.applying import Applied
from romana.objects.waiting import Waited, wait_until_enforced
from romana.objects.writing import Action
from romana.store.api import Store

__all__ = ["Report", "seconds"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Report:
    """Prints what became of each object, at once for people and at the end for programs."""

    as_json: bool
    suffix: str = ""
    warnings: tuple[str, ...] = ()
    done: list[Applied] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    began: float = 0.0
    waited: Waited | None = None
    took_ms: int = 0
    """From the first write to the last node's receipt."""

    async def follow(self, applied: AsyncIterator[Applied]) -> None:
        """Take in each object as it comes."""
        self.began = time.monotonic()
        async for one in applied:
            self.done.append(one)
            if not self.as_json:
                typer.echo(f"{one.kind.singular}/{one.name} {one.action}{self.suffix}")

    async def wait(self, opened: Store, timeout_s: float) -> None:
        """Wait until every live node has in its kernel what was done."""
        self.waited = await wait_until_enforced(opened, self._revisions, timeout_s)
        self.took_ms = round((time.monotonic() - self.began) * 1000)

    @property
    def _revisions(self) -> dict[str, int]:
        """Per watched prefix the newest revision written."""
        pairs = sorted(pair for one in self.done for pair in one.revisions.items())
        return dict(pairs)

    def end(self, timeout: str) -> None:
        """Say how the wait ended, print the JSON, and exit with what both amount to."""
        if self.as_json:
            print_json(self._json())
        elif self.waited is not None:
            _say_waited(self.waited, self.took_ms, timeout)
        for text in self.not_found:
            say(f"error: {text}")
        if self.waited is not None and not self.waited.done:
            raise typer.Exit(Exit.COULD_NOT_TELL)
        if self.not_found:
            raise typer.Exit(Exit.FOUND)

    def _json(self) -> dict[str, Any]:
        objects = [
            {
                "object": "/".join(filter(None, (one.kind.name.lower(), one.namespace, one.name))),
                "action": f"{one.action}{self.suffix}",
                "changed": one.action is not Action.UNCHANGED,
                "revisions": dict(one.revisions),
            }
            for one in self.done
        ]
        waited = None if self.waited is None else {**asdict(self.waited), "done": self.waited.done, "ms": self.took_ms}
        return {"objects": objects, "warnings": list(self.warnings), "not_found": self.not_found, "waited": waited}


def seconds(text: str) -> float:
    """A duration as Go writes it: 30s, 1m30s, 500ms; a bare number is seconds."""
    parts = re.findall(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", text)
    if not parts or "".join(map("".join, parts)) != text or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise typer.BadParameter(f"{text!r} is not a duration such as 30s, 500ms or 1m", param_hint="--timeout")
    return sum(float(number) * _UNITS_S[unit or "s"] for number, unit in parts)


def _say_waited(waited: Waited, took_ms: int, timeout: str) -> None:
    for nodes, state in ((waited.behind, "behind"), (waited.silent, "silent: its receipt went away")):
        for node in nodes:
            say(f"not in force on {node} after {timeout}: it is {state}")
    if waited.enforced:
        count = len(waited.enforced)
        typer.echo(f"in force on {count} node{'s' if count > 1 else ''} after {took_ms} ms")
    elif waited.done:
        typer.echo("no live node watches this: there is nothing to wait for")
