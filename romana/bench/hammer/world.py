"""What the hammer works on: nodes, pods, and the variants of a topology. Pure.

main     any pod; thousands of blocks of sixteen, never full: cool-downs must be kept
tight    tenant `squeeze`: a rack has 64 addresses, so it is always nearly full
shared   tenants `red`, `blue`: blocks are a tenant's segment's
pair     tenant `both`: an IPv4 and an IPv6 address, both or none
extra    nobody's: comes and goes with the topology
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from romana.keys import Address

__all__ = ["FIXED", "TENANTS", "Node", "PodSpec", "Variant", "document", "nodes", "pods", "reserved_cidr"]

RACKS = 3
TENANTS = ("", "default", "default", "squeeze", "red", "blue", "both")
"""Namespaces to draw from; the empty one is an attachment without a pod."""
PODS_EACH = 4
FIXED = 24
"""Pods that ask for an address of their own."""
SEGMENT = "romana.io/segment"
FIXED_IP = "romana.io/ip"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that is to be had; its uid changes with each incarnation."""

    name: str
    address: str
    rack: str


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A Pod object that stands in the store from the beginning."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    ip: Address | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs between the topologies that are applied."""

    fourth_rack: bool = False
    """A pad becomes a group, or a group that is empty a pad."""
    extra: bool = False
    """A network more."""
    reserved: int = 0
    """How many addresses of `main` the document keeps back, counted in pairs."""
    tight_mask: int = 29
    """Refused while anything of it lives."""


def nodes(count: int) -> tuple[Node, ...]:
    """So many, over the racks in turn; addresses of RFC 2544."""
    return tuple(Node(f"n{number}", f"198.18.0.{number + 1}", f"r{number % RACKS + 1}") for number in range(count))


def pods() -> Iterator[PodSpec]:
    """All Pod objects."""
    for tenant in dict.fromkeys(tenant for tenant in TENANTS if tenant):
        for number in range(PODS_EACH):
            segment = ((SEGMENT, f"s{number % 2}"),) if tenant in {"red", "blue"} else ()
            yield PodSpec(tenant, f"pod-{number}", segment)
    for number in range(FIXED):
        rack, place = number % RACKS, number // RACKS
        yield PodSpec("default", f"fixed-{number}", ip=ip_address(f"10.0.{64 * rack + 40}.{place * 5 + 1}"))


def reserved_cidr(number: int) -> str:
    """One of 64 pairs of addresses of `main` that reservations are about; low, where addresses are taken first."""
    return f"10.0.{64 * (number % RACKS)}.{number // RACKS % 64 * 2}/31"


def document(variant: Variant) -> bytes:
    """The topology document, JSON."""
    racks = [{"name": f"rack-{rack}", "assignment": {"rack": f"r{rack}"}, "groups": []} for rack in range(1, RACKS + 1)]
    racks += [{"name": "rack-4", "assignment": {"rack": "r4"}, "groups": []}] if variant.fourth_rack else []
    main: dict[str, object] = {"name": "main", "cidr": "10.0.0.0/16", "block_mask": 28, "cooldown_s": 4}
    if variant.reserved:
        main["reserved"] = [reserved_cidr(100 + number) for number in range(variant.reserved)]
    tight = {"name": "tight", "cidr": "10.200.0.0/24", "block_mask": variant.tight_mask, "cooldown_s": 1}
    shared = {"name": "shared", "cidr": "10.201.0.0/17", "block_mask": 29, "cooldown_s": 2, "owner": "tenant"}
    pair = {"name": "pair", "cidr": "10.202.0.0/18", "block_mask": 28, "cooldown_s": 2, "dual": "pair6"}
    pair6 = {"name": "pair6", "cidr": "fd00:77::/64", "block_mask": 122, "cooldown_s": 2}
    networks = [
        main,
        tight | {"tenants": ["squeeze"], "fallback": False},
        shared | {"tenants": ["red", "blue"], "fallback": False},
        pair | {"tenants": ["both"], "fallback": False},
        pair6 | {"tenants": ["both"], "fallback": False},
    ]
    if variant.extra:
        networks.append({"name": "extra", "cidr": "10.203.0.0/20", "block_mask": 28, "tenants": ["nobody"]})
    four = [str(network["name"]) for network in networks if ":" not in str(network["cidr"])]
    maps = [{"networks": four, "map": racks}, {"networks": ["pair6"], "map": racks}]
    return json.dumps({"networks": networks, "topologies": maps}).encode()
