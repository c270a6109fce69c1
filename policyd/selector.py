"""Label selectors of the Kubernetes API: what labels must say for an object to be meant. Pure.

Source: Kubernetes documentation, "Labels and Selectors", section "Resources that support set-based requirements".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["EVERYTHING", "Operator", "Requirement", "Selector"]


class Operator(Enum):
    """How a requirement looks at a label; the values are the API's words."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `values` is empty for EXISTS and DOES_NOT_EXIST."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it; an absent label meets NOT_IN."""
        if self.operator is Operator.IN:
            return labels.get(self.key) in self.values
        if self.operator is Operator.NOT_IN:
            return labels.get(self.key) not in self.values
        return (self.key in labels) is (self.operator is Operator.EXISTS)


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all be met; none selects everything. `matchLabels` is IN with one value."""

    requirements: frozenset[Requirement] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        for requirement in self.requirements:  # noqa: SIM110 - all() takes half as long again, and this is asked millions of times
            if not requirement.matches(labels):
                return False
        return True


EVERYTHING = Selector()
