"""What a pod wants of its addresses, as its object and the request say. Pure.

    tenant    the namespace                                                            segment   label romana.io/segment
    networks  the request's (CNI configuration), else annotation romana.io/network     ips       annotation romana.io/ip

`romana.io/network` and `romana.io/ip` are lists separated by commas, one of each family at most. Networks that are named are
taken just as they are named; only a network that was not asked for brings the one that its `dual` names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from romana.errors import InvalidInput
from romana.keys import Address

__all__ = ["DEFAULT_SEGMENT", "IP", "NETWORK", "SEGMENT", "Demand", "demand_of"]

IP = "romana.io/ip"
NETWORK = "romana.io/network"
SEGMENT = "romana.io/segment"
DEFAULT_SEGMENT = "default"  # Romana's Kubernetes listener


@dataclass(frozen=True, slots=True)
class Demand:
    """See the module's docstring."""

    tenant: str = ""
    """Empty for an attachment without a pod."""
    segment: str = DEFAULT_SEGMENT
    networks: tuple[str, ...] = ()
    """Empty: the topology's order decides."""
    ips: tuple[Address, ...] = ()


def demand_of(namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str], networks: Sequence[str] = ()) -> Demand:
    """What the pod wants; `networks` are those of the request. Raises InvalidInput for an annotation that cannot be."""
    named = tuple(networks) or _list(annotations, NETWORK)
    ips = tuple(_address(text) for text in _list(annotations, IP))
    for version in (4, 6):
        if sum(ip.version == version for ip in ips) > 1:
            raise InvalidInput(
                f"annotation {IP} is {annotations[IP]!r}: it has two IPv{version} addresses; one of each family at most",
                reason="ADDRESS_WRONG_FAMILY",
            )
    return Demand(namespace, labels.get(SEGMENT) or DEFAULT_SEGMENT, named, ips)


def _list(annotations: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = annotations.get(name, "")
    if not text.strip():
        return ()
    entries = tuple(entry.strip() for entry in text.split(","))
    if not all(entries) or len(set(entries)) < len(entries):
        raise InvalidInput(
            f"annotation {name} is {text!r}: an entry is empty or there twice; accepted: NAME or NAME,NAME", reason=_REASON
        )
    return entries


def _address(text: str) -> Address:
    try:
        ip = ip_address(text)
    except ValueError:
        raise InvalidInput(
            f"annotation {IP} has {text!r}, which is no IPv4 or IPv6 address; accepted: 10.40.0.7 or 10.40.0.7,fd00::7",
            reason=_REASON,
        ) from None
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip.scope_id is not None):
        raise InvalidInput(f"annotation {IP} has {text!r}: write it as plain IPv4, and without a zone", reason=_REASON)
    return ip


_REASON = "ANNOTATION_INVALID"
