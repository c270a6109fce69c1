"""Names that we give to things in the kernel and on a node, and the checks of names that come from outside. Pure.

Every number says where it comes from; docs/glossary.md says what each word means.
"""

import hashlib
import re

__all__ = [
    "GATEWAY_IPV4",
    "GATEWAY_IPV6",
    "GATEWAY_MAC",
    "HOST_INTERFACE_PREFIX",
    "POLICY_CHAIN",
    "ROUTE_PROTOCOL_AGENT",
    "ROUTE_PROTOCOL_ROUTED",
    "host_interface",
    "is_label_key",
    "is_label_value",
    "is_namespace_name",
    "is_node_name",
    "is_object_name",
]

HOST_INTERFACE_PREFIX = "rom"
"""Host ends of veth pairs are `rom` + 12 hex digits. Not `rm`: `rm+` would match modems' `rmnet*` too."""

IFNAME_MAX = 15  # IFNAMSIZ less the NUL, linux/if.h

ROUTE_PROTOCOL_ROUTED = 82
"""`protocol` of routed's routes (man 8 ip-route, rtnetlink(7) rtm_protocol): the only ones it ever changes."""

ROUTE_PROTOCOL_AGENT = 83
"""`protocol` of the agent's routes to the pods of its own node."""

GATEWAY_IPV4 = "169.254.1.1"
"""The next hop of every pod's default route; nobody owns it, a permanent neighbour entry answers for it (RFC 3927 range)."""

GATEWAY_IPV6 = "fe80::1"
"""The same for IPv6: link-local (RFC 4291), so it is on the pod's link without a route."""

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""MAC of the host's end of every veth pair: fixed, so that the pod's permanent neighbour entry never grows stale."""

OBJECT_NAME_MAX = 253  # Kubernetes: RFC 1123 DNS subdomain

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

POLICY_CHAIN = "ROMANA-FORWARD"
"""The chain of legacy iptables that every packet of a pod passes (policyd); CHECK looks whether FORWARD leads there."""


def host_interface(node: str, conf: str, container_id: str, ifname: str) -> str:
    """Name of the host's end of an attachment's veth pair: `rom` and 48 bits of a hash, so 15 bytes, and safe in a rule.

    With 250 pods on a node two of them collide with a probability of about 1e-10; the agent refuses to touch an interface of
    that name which is not its own.
    """
    key = "\0".join((node, conf, container_id, ifname)).encode()
    return HOST_INTERFACE_PREFIX + hashlib.sha256(key).hexdigest()[: IFNAME_MAX - len(HOST_INTERFACE_PREFIX)]


def is_node_name(name: str) -> bool:
    """True for a node's name: a DNS subdomain as Kubernetes takes it (RFC 1123), lower case, 253 characters at most, so no `/`.

    The rule of `is_object_name`, as a Node is such an object; two names, because nodes are named without Kubernetes too."""
    return is_object_name(name)


def is_object_name(name: str) -> bool:
    """True for the name of a Pod as Kubernetes takes it (RFC 1123 DNS subdomain); a Namespace's is a label."""
    return len(name) <= OBJECT_NAME_MAX and _OBJECT_NAME.fullmatch(name) is not None


def is_namespace_name(name: str) -> bool:
    """True for the name of a Kubernetes Namespace (RFC 1123 DNS label: at most 63 characters, no dot)."""
    return _NAMESPACE_NAME.fullmatch(name) is not None


def is_label_key(key: str) -> bool:
    """True for a label's key, `[prefix/]name` (Kubernetes documentation, "Labels and Selectors", syntax)."""
    prefix, slash, name = key.rpartition("/")
    return _LABEL_NAME.fullmatch(name) is not None and (not slash or is_node_name(prefix))


def is_label_value(value: str) -> bool:
    """True for a label's value: empty, or at most 63 characters that begin and end with a letter or digit."""
    return not value or _LABEL_NAME.fullmatch(value) is not None
