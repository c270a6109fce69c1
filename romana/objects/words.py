"""The Kubernetes API's words for what is wrong with a field. Pure.

Each function gives one fault in the wording of the API's `causes`: path, reason and value, then the rule.
Source: k8s.io/apimachinery, pkg/util/validation/field/errors.go, and answers recorded from an API server 1.36.
"""

import json
from collections.abc import Iterable, Sequence

from romana.errors import Fault

__all__ = ["duplicate", "each_invalid", "forbidden", "invalid", "quoted", "required", "too_long", "unsupported"]

SHOWN_MAX = 1024  # characters of a value; only a hostile one is longer, and a terminal has to take it

Value = str | int | Sequence[str]


def quoted(value: object) -> str:
    """A value as the API shows it: JSON without spaces, cut off where it would flood a terminal."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def invalid(path: str, value: Value, rule: str) -> Fault:
    """A value that breaks a rule."""
    return Fault(path, f"Invalid value: {quoted(value)}: {rule}")


def each_invalid(path: str, value: Value, rules: Iterable[str]) -> list[Fault]:
    """One fault for each rule that the value breaks."""
    return [invalid(path, value, rule) for rule in rules]


def required(path: str, rule: str = "") -> Fault:
    """A value that is missing."""
    return Fault(path, f"Required value: {rule}" if rule else "Required value")


def forbidden(path: str, rule: str) -> Fault:
    """A value that may not stand here."""
    return Fault(path, f"Forbidden: {rule}")


def unsupported(path: str, value: str, supported: Iterable[str]) -> Fault:
    """A value that is none of those there are."""
    return Fault(path, f"Unsupported value: {quoted(value)}: supported values: {', '.join(map(quoted, supported))}")


def duplicate(path: str, value: str) -> Fault:
    """A value that must be unique and is not."""
    return Fault(path, f"Duplicate value: {quoted(value)}")


def too_long(path: str, limit_bytes: int) -> Fault:
    """A value above its size."""
    return Fault(path, f"Too long: may not be more than {limit_bytes} bytes")
