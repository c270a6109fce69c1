"""Plain YAML scalars as JSON values, as Kubernetes' YAML reader takes them (YAML 1.1, but no dates and no base 60). Pure.

Source: sigs.k8s.io/yaml, goyaml.v2/resolve.go.
"""

import math
import re

__all__ = ["integer", "plain"]

NULLS = {"", "~", "null", "Null", "NULL"}
TRUE = {word for base in ("yes", "true", "on") for word in (base, base.capitalize(), base.upper())}
FALSE = {word for base in ("no", "false", "off") for word in (base, base.capitalize(), base.upper())}
DIGITS_MAX = 40  # far beyond every number that a field takes; longer ones become floats, as in Go

_INTEGER = re.compile(r"[-+]?(0b[01][01_]*|0o?[0-7][0-7_]*|0x[0-9A-Fa-f][0-9A-Fa-f_]*|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def plain(text: str) -> bool | int | float | str | None:
    """What a scalar without quotes and tag stands for."""
    if text in NULLS:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if _INTEGER.fullmatch(text):
        return _with_base(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def integer(text: str) -> int | float:
    """A decimal number; one with far too many digits becomes a float."""
    return int(text) if len(text) <= DIGITS_MAX else float(text)


def _with_base(text: str) -> int | float:
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("-+")
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8), ("0", 8)):
        if digits.startswith(prefix) and len(digits) > len(prefix):
            return sign * int(digits.removeprefix(prefix), base) if len(digits) <= DIGITS_MAX else math.inf
    return integer(text)
