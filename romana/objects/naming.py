"""The Kubernetes API's rules for names, labels and ports, each as the list of rules that a value breaks. Pure.

Source: k8s.io/apimachinery, pkg/util/validation/validation.go and pkg/api/validate/content; the limits are those of RFC 1123 and
RFC 6335. Lengths count bytes, as there.
"""

import re

__all__ = ["PORT_MAX", "PROTOCOLS", "dns_label", "dns_subdomain", "label_key", "label_value", "port_name", "port_number"]

PROTOCOLS = ("TCP", "UDP", "SCTP")
PORT_MAX = 65535
DNS_LABEL_MAX = 63
DNS_SUBDOMAIN_MAX = 253
LABEL_MAX = 63
PORT_NAME_MAX = 15  # RFC 6335, service names

_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_LABEL_NAME})?"
_PORT_NAME = "[-a-z0-9]+"

_NAME_RULE = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_LABEL_RULE = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with"
)
_VALUE_RULE = f"a valid label must be an empty string or {_NAME_RULE.removeprefix('must ')}"


def dns_label(value: str) -> list[str]:
    """For names of namespaces and containers."""
    broken = _length(value, DNS_LABEL_MAX, "characters")
    if not _matches(_DNS_LABEL, value):
        rule = _rule(f"{_LABEL_RULE} an alphanumeric character", _DNS_LABEL, "my-name", "123-abc")
        broken.append("must not contain dots" if _matches(_DNS_SUBDOMAIN, value) else rule)
    return broken


def dns_subdomain(value: str, unit: str = "characters") -> list[str]:
    """For names of most objects; as the prefix of a label's key the API counts the same length as `bytes`."""
    broken = _length(value, DNS_SUBDOMAIN_MAX, unit)
    if not _matches(_DNS_SUBDOMAIN, value):
        broken.append(_rule(f"{_SUBDOMAIN_RULE} an alphanumeric character", _DNS_SUBDOMAIN, "example.com"))
    return broken


def label_key(value: str) -> list[str]:
    """For keys of labels and annotations: `[prefix/]name`."""
    *prefixes, name = value.split("/")
    rule = _rule(_NAME_RULE, _LABEL_NAME, "MyName", "my.name", "123-abc")
    if len(prefixes) > 1:
        return [f"a valid label key {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    broken = []
    for prefix in prefixes:
        broken += [f"prefix part {text}" for text in (dns_subdomain(prefix, "bytes") if prefix else ["must be non-empty"])]
    lengths = _length(name, LABEL_MAX, "bytes") if name else ["must be non-empty"]
    patterns = [] if _matches(_LABEL_NAME, name) else [rule]
    return broken + [f"name part {text}" for text in lengths + patterns]


def label_value(value: str) -> list[str]:
    """For values of labels, also in selectors."""
    broken = _length(value, LABEL_MAX, "bytes")
    if not _matches(_LABEL_VALUE, value):
        broken.append(_rule(_VALUE_RULE, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return broken


def port_name(value: str) -> list[str]:
    """For names of ports (IANA service names)."""
    broken = _length(value, PORT_NAME_MAX, "characters")
    if not _matches(_PORT_NAME, value):
        broken.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        broken.append("must contain at least one letter (a-z)")
    if "--" in value:
        broken.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        broken.append("must not begin or end with a hyphen")
    return broken


def port_number(value: int) -> list[str]:
    """For numbers of ports."""
    return [] if 1 <= value <= PORT_MAX else [f"must be between 1 and {PORT_MAX}, inclusive"]


def _length(value: str, limit: int, unit: str) -> list[str]:
    return [f"must be no more than {limit} {unit}"] if len(value.encode()) > limit else []


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def _rule(rule: str, pattern: str, *examples: str) -> str:
    """validation.go, RegexError: two spaces before `or` are its own."""
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{rule} (e.g. {listed}regex used for validation is '{pattern}')"
