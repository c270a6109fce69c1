"""Objects as the columns that kubectl prints. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD, Kind
from romana.objects.v1_types import RequirementV1, SelectorV1

__all__ = ["aligned", "selector_text", "table"]

NONE = "<none>"
_COLUMNS = {
    NAMESPACE: ("NAME", "STATUS", "LABELS"),
    POD: ("NAME", "STATUS", "IP", "NODE", "LABELS"),
    NETWORK_POLICY: ("NAME", "POD-SELECTOR", "POLICY-TYPES"),
}
_OPERATORS = {"In": "{key} in ({values})", "NotIn": "{key} notin ({values})", "Exists": "{key}", "DoesNotExist": "!{key}"}


def table(kind: Kind, documents: Iterable[Mapping[str, Any]], *, with_namespace: bool) -> list[str]:
    """Lines with a heading; a column for the namespace where several are shown."""
    namespaced = with_namespace and kind.namespaced
    rows = [(*([row["metadata"].get("namespace", "")] if namespaced else []), *_cells(kind, row)) for row in documents]
    return aligned([(*(["NAMESPACE"] if namespaced else []), *_COLUMNS[kind]), *rows])


def selector_text(selector: SelectorV1) -> str:
    """A selector in one line, as kubectl writes it (metav1.FormatLabelSelector)."""
    equal = [f"{key}={value}" for key, value in sorted(selector.get("matchLabels", {}).items())]
    return ",".join([*equal, *map(_requirement_text, selector.get("matchExpressions", []))]) or NONE


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, three spaces between columns, as kubectl does."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(kind: Kind, document: Mapping[str, Any]) -> tuple[str, ...]:
    name, labels = document["metadata"]["name"], _labels(document["metadata"].get("labels", {}))
    spec, status = document["spec"], document.get("status", {})
    if kind is NETWORK_POLICY:
        return name, selector_text(cast(SelectorV1, spec.get("podSelector") or {})), ",".join(spec.get("policyTypes") or [])
    if kind is POD:
        ips = ",".join(entry["ip"] for entry in status.get("podIPs", []))
        return name, status.get("phase", "Running" if ips else "Pending"), ips or NONE, spec.get("nodeName", NONE), labels
    return name, status["phase"], labels


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


def _requirement_text(requirement: RequirementV1) -> str:
    pattern = _OPERATORS.get(requirement["operator"], "{key} ? ({values})")
    return pattern.format(key=requirement["key"], values=",".join(requirement.get("values", [])))
