"""What must hold between the parts of a document, beyond each field by itself. Pure.

Every function returns the faults; a part that could not be read is left out of the comparison, so that one mistake is told once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ipam.topology.document import Group, Host, Labels
from ipam.topology.fields import at_index, at_key
from ipam.topology.sharing import holds, shares_in
from ipam.topology.splitting import Share, bits_of, slot_count, split
from ipam.topology.syntax import quoted
from romana.errors import Fault
from romana.keys import Network

__all__ = [
    "PREFIXES_MAX",
    "NetworkDraft",
    "assignment_faults",
    "carving_faults",
    "dual_faults",
    "host_faults",
    "network_faults",
    "reference_faults",
    "reserved_faults",
    "sibling_faults",
    "stray_faults",
    "unused_faults",
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
    owner: str = "node"
    reserved: tuple[tuple[str, Network], ...] = ()
    """Path and prefix."""
    cooldown_s: int | None = None
    dual: str = ""
    fallback: bool = True


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
        if outer is not None and outer.cidr and network.cidr and holds(outer.cidr, network.cidr):
            message = f'"{network.cidr}" overlaps "{outer.cidr}" of {outer.path}; networks must not overlap'
            yield Fault(at_key(network.path, "cidr"), message)
        else:
            outer = network


def reserved_faults(network: NetworkDraft) -> Iterator[Fault]:
    """Reserved prefixes that are not the network's."""
    for path, cidr in network.reserved:
        if network.cidr is not None and not holds(network.cidr, cidr):
            yield Fault(
                path, f'"{cidr}" does not lie in "{network.cidr}"; a prefix of network {quoted(network.name or "")} is accepted'
            )


def dual_faults(networks: Sequence[NetworkDraft]) -> Iterator[Fault]:
    """Pairs of networks that cannot be."""
    by_name = {network.name: network for network in networks}
    users: dict[str, str] = {}
    for network in networks:
        if not network.dual:
            continue
        path, other = at_key(network.path, "dual"), by_name.get(network.dual)
        if other is None:
            yield Fault(path, f"{quoted(network.dual)} is not a network of this document; the name of an IPv6 one is accepted")
        elif network.cidr and other.cidr and (network.cidr.version, other.cidr.version) != (4, 6):
            pair = f"IPv{network.cidr.version} network names the IPv{other.cidr.version} network {quoted(network.dual)}"
            yield Fault(path, f"an {pair}; it stands on an IPv4 network and names an IPv6 one")
        elif network.dual in users:
            yield Fault(path, f"{quoted(network.dual)} goes with {users[network.dual]} already; a network has one partner")
        users.setdefault(network.dual, network.path)


def unused_faults(networks: Sequence[NetworkDraft], users: Mapping[str, str]) -> Iterator[Fault]:
    """Networks that no topology has: nothing could ever get an address of them."""
    for network in networks:
        if network.name is not None and network.name not in users:
            yield Fault(network.path, f"{quoted(network.name)} is in no topology; list it in the networks of one")


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
            yield from _map_faults(path, groups, network, network.cidr, network.block_mask)


def _map_faults(path: str, groups: Sequence[Group], network: NetworkDraft, cidr: Network, block_mask: int) -> Iterator[Fault]:
    """A map of one group gives it the network whole, unless it names its prefix."""
    if len(groups) == 1 and shares_in(cidr, groups)[0].cidr is None:
        yield from _fit_faults(at_key(at_index(path, 0), "groups"), groups[0].groups, network, cidr, block_mask)
    else:
        yield from _fit_faults(path, groups, network, cidr, block_mask)


def _slots(groups: Sequence[Group]) -> int:
    pads = slot_count([Share(group.weight) for group in groups]) - len(groups) if groups else 0
    return pads + sum(_slots(group.groups) if group.groups else 1 for group in groups)


def _fit_faults(path: str, groups: Sequence[Group], network: NetworkDraft, parent: Network, block_mask: int) -> Iterator[Fault]:
    """What does not fit into `parent`, which the groups of the list at `path` split in this network."""
    shares = shares_in(network.cidr or parent, groups)
    faults = [
        *_explicit_faults(path, shares, network, parent, block_mask),
        *_implied_faults(path, shares, network, parent, block_mask),
    ]
    yield from faults
    if faults or not groups:
        return
    for part in split(parent, shares):
        if part.index < len(groups) and groups[part.index].groups:
            below = at_key(at_index(path, part.index), "groups")
            yield from _fit_faults(below, groups[part.index].groups, network, part.cidr, block_mask)


def _implied_faults(
    path: str, shares: Sequence[Share], network: NetworkDraft, parent: Network, block_mask: int
) -> Iterator[Fault]:
    """Groups whose computed prefixes are smaller than a block."""
    if not shares or any(share.cidr is not None for share in shares):
        return
    length = parent.prefixlen + bits_of(shares)
    if length > block_mask:
        weights = "" if all(share.weight == 1 for share in shares) else " by their weights"
        demand = (
            f"{len(shares)} groups split a /{parent.prefixlen} of network {quoted(network.name or '')}{weights} into /{length}"
        )
        accepted = f"at most {1 << max(block_mask - parent.prefixlen, 0)} groups here, or a longer block_mask, are accepted"
        yield Fault(path, f"{demand}, smaller than its blocks of /{block_mask}; {accepted}")


def _explicit_faults(
    path: str, shares: Sequence[Share], network: NetworkDraft, parent: Network, block_mask: int
) -> Iterator[Fault]:
    """Prefixes of groups that are outside, too small, in one another's way, or given for some of a list only."""
    given = [(at_key(at_index(path, index), "cidr"), share.cidr) for index, share in enumerate(shares) if share.cidr is not None]
    if given and len(given) < len(shares):
        name = quoted(network.name or "")
        yield Fault(
            path, f"{len(given)} of {len(shares)} groups have a cidr in network {name}; all groups of a list have one, or none"
        )
    last: tuple[str, Network] | None = None
    for at, cidr in sorted(given, key=lambda entry: (int(entry[1].network_address), entry[1].prefixlen)):
        if not holds(parent, cidr):
            yield Fault(at, f'"{cidr}" does not lie in "{parent}", which this list of groups splits')
        elif cidr.prefixlen > block_mask:
            yield Fault(at, f'"{cidr}" is smaller than a block of /{block_mask} of network {quoted(network.name or "")}')
        if last is not None and holds(last[1], cidr):
            yield Fault(at, f'"{cidr}" overlaps "{last[1]}" of {last[0]}; groups must not overlap')
        else:
            last = (at, cidr)


def stray_faults(path: str, groups: Sequence[Group], networks: Sequence[NetworkDraft]) -> Iterator[Fault]:
    """Prefixes of groups that lie in none of the topology's networks, or two of them in one."""
    for index, group in enumerate(groups):
        at = at_index(path, index)
        seen: dict[str, Network] = {}
        for cidr in group.cidrs:
            home = next((network for network in networks if network.cidr is not None and holds(network.cidr, cidr)), None)
            if home is None:
                yield Fault(at_key(at, "cidr"), f'"{cidr}" lies in no network of this topology')
            elif home.path in seen:
                yield Fault(
                    at_key(at, "cidr"), f'"{cidr}" and "{seen[home.path]}" lie in one network; a group has one prefix in each'
                )
            else:
                seen[home.path] = cidr
        yield from stray_faults(at_key(at, "groups"), group.groups, networks)
