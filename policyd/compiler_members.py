"""Addresses of sets of pods, worked out once while the sets stay as they are. Pure."""

from collections.abc import Collection, Mapping

from policyd.cidr import host
from policyd.cluster import CoveredPod
from policyd.compiled import Network
from policyd.policy import NamedPorts, ObjectName
from policyd.selection import PodSet
from policyd.selection_index import KeptSet, SelectionIndex

__all__ = ["Members"]


class Members:
    """Answers from an index, and notes what it was asked for."""

    def __init__(self, index: SelectionIndex) -> None:
        self._index = index
        self._asked: set[KeptSet] = set()
        self._networks: dict[KeptSet, tuple[int, frozenset[Network]]] = {}
        self._hosts: dict[ObjectName, tuple[CoveredPod, tuple[Network, ...]]] = {}

    def asked(self) -> frozenset[KeptSet]:
        """The sets that were asked for since this was last called."""
        found = frozenset(self._asked)
        self._asked.clear()
        return found

    def networks(self, wanted: PodSet) -> frozenset[Network]:
        """Every address of every member; the very same value while the set does not change."""
        kept = self._ask(wanted)
        known = self._networks.get(kept)
        if known is None or known[0] != kept.version:
            networks = frozenset(network for name in kept.names for network in self._hosts_of(self._index.covered[name]))
            known = self._networks[kept] = (kept.version, networks)
        return known[1]

    def by_port(self, wanted: PodSet, named: NamedPorts) -> Mapping[int, frozenset[Network]]:
        """The members' addresses under each number that they give to a port's name."""
        found: dict[int, list[Network]] = {}
        for pod in map(self._index.covered.__getitem__, self._ask(wanted).names):
            for number in pod.ports(named.name, named.protocol):
                found.setdefault(number, []).extend(self._hosts_of(pod))
        return {number: frozenset(networks) for number, networks in found.items()}

    def keep(self, used: Collection[KeptSet]) -> None:
        """Forget all other sets, and now and then the pods that are as they were no longer."""
        self._networks = {kept: known for kept, known in self._networks.items() if kept in used}
        if len(self._hosts) > 2 * len(self._index.covered):
            self._hosts = {name: known for name, known in self._hosts.items() if self._index.covered.get(name) is known[0]}

    def _ask(self, wanted: PodSet) -> KeptSet:
        kept = self._index.set_of(wanted)
        self._asked.add(kept)
        return kept

    def _hosts_of(self, pod: CoveredPod) -> tuple[Network, ...]:
        known = self._hosts.get(pod.key)
        if known is None or known[0] is not pod:
            known = self._hosts[pod.key] = (pod, tuple(map(host, pod.addresses)))
        return known[1]
