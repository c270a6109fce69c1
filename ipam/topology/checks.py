"""What must hold between the parts of a document, beyond each field by itself. Pure.

Every function returns the faults; a part that could not be read is left out of the comparison, so that one mistake is told once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ipam.topology.document import Group, Host, Labels
from ipam.topology.fields import at_index, at_key
from ipam.topology.syntax import quoted
from romana.errors import Fault
from romana.keys import Network

__all__ = [
    "PREFIXES_MAX",
    "NetworkDraft",
    "assignment_faults",
    "carving_faults",
    "host_faults",
    "network_faults",
    "reference_faults",
    "sibling_faults",
    "slot_bits",
]

PREFIXES_MAX = 65_536  # leaves and pads of one topology over all its networks; a small document must not make a huge answer


@dataclass(frozen=True, slots=True)
class NetworkDraft:
    """A network as far as it could be read."""

    path: str
    name: str | None
    cidr: Network | None
    block_mask: int | None
    tenants: tuple[str, ...]


def slot_bits(count: int) -> int:
    """Bits that tell `count` siblings apart: their number is padded to the next power of two."""
    return (count - 1).bit_length()


def network_faults(networks: Sequence[NetworkDraft]) -> Iterator[Fault]:
    """Names twice, and prefixes that overlap."""
    first_path: dict[str, str] = {}
    for network in networks:
        if network.name is None:
            continue
        earlier = first_path.setdefault(network.name, network.path)
        if earlier != network.path:
            yield Fault(at_key(network.path, "name"), f"{quoted(network.name)} is the name of {earlier} too; names are unique")
    yield from _overlap_faults(networks)


def _overlap_faults(networks: Sequence[NetworkDraft]) -> Iterator[Fault]:
    """Prefixes nest or are disjoint: sorted by start and length, one that overlaps follows the one that holds it."""
    ranges = [(network.cidr.version, int(network.cidr.network_address), network.cidr.prefixlen, index)
              for index, network in enumerate(networks) if network.cidr is not None]  # fmt: skip
    outer: NetworkDraft | None = None
    for *_, index in sorted(ranges):
        network = networks[index]
        if outer is not None and outer.cidr and network.cidr and _holds(outer.cidr, network.cidr):
            message = f'"{network.cidr}" overlaps "{outer.cidr}" of {outer.path}; networks must not overlap'
            yield Fault(at_key(network.path, "cidr"), message)
        else:
            outer = network


def _holds(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and inner.network_address in outer


def reference_faults(
    names: Sequence[tuple[str, str]], networks: Mapping[str, NetworkDraft], users: dict[str, str]
) -> Iterator[Fault]:
    """A topology's networks (path, name): undefined, in two topologies, of two families. Notes each in `users` (name -> path)."""
    first: NetworkDraft | None = None
    for path, name in names:
        network = networks.get(name)
        if network is None:
            known = ", ".join(quoted(known) for known in list(networks)[:8]) or "none"
            yield Fault(path, f"{quoted(name)} is not a network of this document; defined: {known}")
            continue
        if name in users:
            yield Fault(path, f"{quoted(name)} stands in {users[name]} too; a network is in one topology at most")
        users.setdefault(name, path)
        if first and first.cidr and network.cidr and first.cidr.version != network.cidr.version:
            families = f"{quoted(name)} is IPv{network.cidr.version}, {quoted(first.name or '')} is IPv{first.cidr.version}"
            yield Fault(path, f"{families}; the networks of a topology are of one family")
        first = first or network


def assignment_faults(path: str, inherited: Mapping[str, str], own: Labels) -> Iterator[Fault]:
    """A group that no node can ever get into, because a level above it demands another value of the same label."""
    for label, value in own:
        if inherited.get(label, value) != value:
            above = f"a group above it demands {label}={quoted(inherited[label])}"
            yield Fault(at_key(path, label), f"{quoted(value)} can never be met: {above}; so no node fits this group")


def host_faults(hosts: Iterable[tuple[str, Host]]) -> Iterator[Fault]:
    """Hosts of one topology (path, host) that are listed twice, by name or by address."""
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for path, host in hosts:
        for seen, key, value in ((names, "name", host.name), (addresses, "ip", str(host.ip))):
            if value in seen:
                yield Fault(at_key(path, key), f"{quoted(value)} is listed at {seen[value]} too; a host is in one group")
            seen.setdefault(value, path)


def sibling_faults(siblings: Iterable[tuple[str, Group]]) -> Iterator[Fault]:
    """Groups of one list (path, group) of one name: a node without blocks follows its group by name through a change."""
    first: dict[str, str] = {}
    for path, group in siblings:
        earlier = first.setdefault(group.name, path) if group.name else path
        if earlier != path:
            yield Fault(
                at_key(path, "name"), f"{quoted(group.name)} is the name of {earlier} too; groups side by side differ in name"
            )


def carving_faults(path: str, groups: Sequence[Group], networks: Sequence[NetworkDraft]) -> Iterator[Fault]:
    """Lists of groups whose prefixes are too small for the networks' blocks, and maps that make too many prefixes."""
    if (total := _slots(groups) * len(networks)) > PREFIXES_MAX:
        yield Fault(path, f"gives {total} prefixes over {len(networks)} networks; at most {PREFIXES_MAX} are accepted")
    for network in networks:
        if network.cidr is not None and network.block_mask is not None:
            yield from _fit_faults(path, groups, network, network.cidr.prefixlen, network.block_mask)


def _slots(groups: Sequence[Group]) -> int:
    pads = (1 << slot_bits(len(groups))) - len(groups) if groups else 0
    return pads + sum(_slots(group.groups) if group.groups else 1 for group in groups)


def _fit_faults(path: str, groups: Sequence[Group], network: NetworkDraft, prefixlen: int, block_mask: int) -> Iterator[Fault]:
    bits = slot_bits(len(groups))
    if prefixlen + bits > block_mask:
        demand = f"{len(groups)} groups split a /{prefixlen} of network {quoted(network.name or '')} into /{prefixlen + bits}"
        accepted = f"at most {1 << max(block_mask - prefixlen, 0)} groups here, or a longer block_mask, are accepted"
        yield Fault(path, f"{demand}, smaller than its blocks of /{block_mask}; {accepted}")
        return
    for index, group in enumerate(groups):
        if group.groups:
            yield from _fit_faults(at_key(at_index(path, index), "groups"), group.groups, network, prefixlen + bits, block_mask)
