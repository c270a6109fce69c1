"""docs/metrics.md and a page of `/metrics`, as values that can be compared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Listed", "documented", "exposed"]

PAGE = Path(__file__).parents[1] / "docs/metrics.md"
OWNERS = {
    "Every daemon": None,
    "A daemon that speaks to etcd": {"ipamd", "routed", "policyd"},
    "A daemon that syncs": {"routed", "policyd"},
}
_ROW = re.compile(r"\| `([a-z_]+)` \| (counter|gauge|histogram) \| ([^|]*) \|")


@dataclass(frozen=True, slots=True)
class Listed:
    """One metric."""

    type: str
    labels: frozenset[str]


def documented(daemon: str) -> Mapping[str, Listed]:
    """What the page says that this daemon exposes."""
    found: dict[str, Listed] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        owners = OWNERS.get(title, {title})
        if owners is None or daemon in owners:
            found |= {
                name: Listed(kind, frozenset(re.findall(r"`([a-z]+)`", labels))) for name, kind, labels in _ROW.findall(section)
            }
    return found


def exposed(page: str) -> Mapping[str, Listed]:
    """What stands on a page; labels are those of its samples."""
    found = {}
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = Listed(family.type, frozenset(labels))
    return found
