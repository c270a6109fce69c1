"""Compiles what one node must enforce, from the index of selections. Pure.

    endpoints of the node --> covered pods --isolating policies, named ports--> group keys --> groups (remembered) --> Compiled

A group is compiled anew only when one of its policies or the members of one of its sets of pods changed. In `Compiled`:

* pods that finished, are on the node's network, or are not their endpoint's are absent, so they can neither send nor receive;
* anonymous endpoints are there without groups: nothing isolates them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policyd.cluster import ANONYMOUS, Cluster, CoveredPod, Endpoint
from policyd.compiled import Compiled, Direction, Group, PodInterface
from policyd.compiler_members import Members
from policyd.compiler_rules import PortEntries, group_of
from policyd.policy import NamedPorts, NetworkPolicy, ObjectName
from policyd.selection_index import KeptSet, SelectionIndex

__all__ = ["Compiler", "GroupKey", "compile_cluster", "group_ids"]

ID_DIGITS = 10


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What pods of a group have in common; `ports`: name, protocol and number of each port that the policies call by name."""

    direction: Direction
    policies: tuple[ObjectName, ...]
    ports: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """A compiled group, and all that it was compiled from."""

    policies: tuple[NetworkPolicy, ...]
    versions: tuple[tuple[KeptSet, int], ...]
    group: Group

    def is_current(self, policies: tuple[NetworkPolicy, ...]) -> bool:
        """Whether all is as it was then."""
        return self.policies == policies and all(kept.version == version for kept, version in self.versions)


class Compiler:
    """Compiles one node again and again while its index changes."""

    def __init__(self, index: SelectionIndex, node: str) -> None:
        self._index, self._node = index, node
        self._known: dict[GroupKey, _Known] = {}
        self._entries = PortEntries()
        self._members = Members(index)

    def compile(self) -> Compiled:
        """What the node must enforce now. The index keeps the sets of pods that this needs, and forgets all others."""
        wanted: dict[GroupKey, tuple[NetworkPolicy, ...]] = {}
        placed = [(endpoint, self._keys(pod, wanted)) for endpoint, pod in self._local()]
        ids = group_ids(wanted)
        self._known = {key: self._compiled(key, policies, ids[key]) for key, policies in wanted.items()}
        self._forget()
        pods = [_interface(endpoint, [ids[key] if key else None for key in keys]) for endpoint, keys in placed]
        groups = [known.group for known in self._known.values()]
        return Compiled(tuple(sorted(pods, key=lambda pod: pod.interface)), tuple(sorted(groups, key=lambda group: group.id)))

    def _local(self) -> Iterator[tuple[Endpoint, CoveredPod | None]]:
        """Endpoints of the node that have a network, with their pods; None: anonymous."""
        for endpoint in self._index.endpoints_on(self._node):
            pod = self._index.covered.get(endpoint.owner)
            if endpoint.owner == ANONYMOUS:
                yield endpoint, None
            elif pod and endpoint in pod.endpoints:
                yield endpoint, pod

    def _keys(self, pod: CoveredPod | None, wanted: dict[GroupKey, tuple[NetworkPolicy, ...]]) -> list[GroupKey | None]:
        """A pod's group per direction, noted with its policies."""
        found: list[GroupKey | None] = []
        for direction in Direction:
            policies = [one for one in self._index.policies_of(pod.key) if one.rules(direction) is not None] if pod else []
            key = _group_key(direction, policies, pod) if pod and policies else None
            if key:
                wanted[key] = tuple(policies)
            found.append(key)
        return found

    def _compiled(self, key: GroupKey, policies: tuple[NetworkPolicy, ...], group_id: str) -> _Known:
        known = self._known.get(key)
        if known and known.group.id == group_id and known.is_current(policies):
            return known
        rules = [rule for policy in policies for rule in policy.rules(key.direction) or ()]
        group = group_of(group_id, key.direction, rules, key.ports, self._members, self._entries)
        versions = tuple((kept, kept.version) for kept in self._members.asked())
        return _Known(policies, versions, group)

    def _forget(self) -> None:
        """Drop what no group needs any longer."""
        used = {kept for known in self._known.values() for kept, _ in known.versions}
        self._index.keep(used)
        self._members.keep(used)
        self._entries.keep_recent()


def compile_cluster(cluster: Cluster, node: str) -> Compiled:
    """What a node must enforce, from scratch."""
    return Compiler(SelectionIndex.of(cluster), node).compile()


def group_ids(keys: Iterable[GroupKey]) -> dict[GroupKey, str]:
    """An id for each key: a hash of it; should two meet, the later in order takes its next hash."""
    ids: dict[GroupKey, str] = {}
    taken: set[str] = set()
    for text, key in sorted((_text(key), key) for key in keys):
        attempt = 0
        while (found := _digest(text, attempt)) in taken:
            attempt += 1
        taken.add(found)
        ids[key] = found
    return ids


def _digest(text: str, attempt: int) -> str:
    return hashlib.sha256(f"{attempt}\0{text}".encode()).hexdigest()[:ID_DIGITS]


def _text(key: GroupKey) -> str:
    """All of a key in words that no name can contain the end of."""
    ports = [f"{name}/{protocol}/{number}" for name, protocol, number in key.ports]
    return "\0".join([key.direction.value, *map(str, key.policies), "", *ports])


def _group_key(direction: Direction, policies: list[NetworkPolicy], pod: CoveredPod) -> GroupKey:
    names = {ports for policy in policies for ports in _named(policy)} if direction is Direction.INGRESS else set()
    ports = {(one.name, one.protocol.name, number) for one in names for number in pod.ports(one.name, one.protocol)}
    return GroupKey(direction, tuple(policy.key for policy in policies), tuple(sorted(ports)))


def _named(policy: NetworkPolicy) -> Iterator[NamedPorts]:
    """The ports that a policy's ingress rules call by name."""
    return (ports for rule in policy.ingress or () for ports in rule.ports if isinstance(ports, NamedPorts))


def _interface(endpoint: Endpoint, groups: list[str | None]) -> PodInterface:
    ingress, egress = groups
    return PodInterface(endpoint.host_interface, endpoint.addresses, ingress, egress)
