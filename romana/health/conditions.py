"""What must be so for a daemon to do its work, one line each, as `/readyz` tells it. Pure.

    [+]etcd ok: revision 4711, heard 0.4 s ago
    [-]cache failed: nodes/ is not read yet
    [~]recovery: waits for node-7                                  told, but nothing that another process could do better
    readyz failed

The form is that of Kubernetes' own `/readyz?verbose` (kubernetes.io, "Kubernetes API health endpoints").
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Condition", "all_met", "failed", "met", "note", "report"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing, whether it is so, and the evidence."""

    name: str
    is_met: bool
    evidence: str
    counts: bool = True
    """False: told only; being ready does not hang on it."""

    def line(self) -> str:
        """For a person and for grep."""
        evidence = " ".join(self.evidence.split())
        if not self.counts:
            return f"[~]{self.name}: {evidence}"
        return f"[+]{self.name} ok: {evidence}" if self.is_met else f"[-]{self.name} failed: {evidence}"


def met(name: str, evidence: str) -> Condition:
    """It is so."""
    return Condition(name, is_met=True, evidence=evidence)


def failed(name: str, evidence: str) -> Condition:
    """It is not."""
    return Condition(name, is_met=False, evidence=evidence)


def note(name: str, evidence: str) -> Condition:
    """Something to know, on which readiness does not hang."""
    return Condition(name, is_met=True, evidence=evidence, counts=False)


def all_met(conditions: Iterable[Condition]) -> bool:
    """Whether the daemon is ready."""
    return all(condition.is_met for condition in conditions if condition.counts)


def report(conditions: Iterable[Condition]) -> str:
    """All lines, and what they come to."""
    known = tuple(conditions)
    return "\n".join([*(condition.line() for condition in known), f"readyz {'passed' if all_met(known) else 'failed'}"])
