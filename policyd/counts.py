"""What policyd counts of its own work; `policyd.metrics` shows it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policyd.applied import Applied
from policyd.compiled import Compiled
from romana.counting import Distribution

__all__ = ["PolicyCounts"]

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class PolicyCounts:
    """Belongs to one enforcer."""

    compile_s: Distribution = field(default_factory=lambda: Distribution(BOUNDS_S))
    apply_s: Distribution = field(default_factory=lambda: Distribution(BOUNDS_S))
    """Of applies that succeeded."""
    compiled_revision: int = 0
    """The newest revision of what was compiled last."""
    revision_in_force: int = 0
    """The newest revision of what is in the kernel."""
    pods: int = 0
    groups: int = 0
    rules: int = 0
    sets: int = 0
    bumps: int = 0
    """How often connections were judged anew."""
    repairs: int = 0
    """Applies that had to change something for which the store gave no cause: others had changed the kernel."""

    def compiled(self, took_s: float, revision: int) -> None:
        """The state at this revision was compiled."""
        self.compile_s.observe(took_s)
        self.compiled_revision = revision

    def applied(self, compiled: Compiled, done: Applied, took_s: float, revisions: Mapping[str, int], *, is_repair: bool) -> None:
        """It is in force; `is_repair`: the store is as it was at the last apply."""
        self.apply_s.observe(took_s)
        self.revision_in_force = max(revisions.values(), default=0)
        self.pods, self.groups = len(compiled.pods), len(compiled.groups)
        self.rules, self.sets = done.rules, done.sets
        self.bumps += done.bumped
        self.repairs += is_repair and done.changed
