"""Addresses of sets of pods, worked out once while the sets stay as they are. Pure."""

from collections.abc import Collection, Mapping

from policyd.cidr import host
from policyd.cluster import CoveredPod
from policyd.compiled import Network
from policyd.policy import NamedPorts, ObjectName
from policyd.selection import PodSet
from policyd.selection_index import SelectionIndex

__all__ = ["Members"]


class Members:
    """Answers from an index, and notes what it was asked for."""

    def __init__(self, index: SelectionIndex) -> None:
        self._index = index
        self._asked: set[PodSet] = set()
        self._networks: dict[PodSet, tuple[int, frozenset[Network]]] = {}
        self._hosts: dict[ObjectName, tuple[CoveredPod, tuple[Network, ...]]] = {}

    def asked(self) -> frozenset[PodSet]:
        """The sets that were asked for since this was last called."""
        found = frozenset(self._asked)
        self._asked.clear()
        return found

    def networks(self, wanted: PodSet) -> frozenset[Network]:
        """Every address of every member; the very same value while the set does not change."""
        self._asked.add(wanted)
        version = self._index.version(wanted)
        known = self._networks.get(wanted)
        if known is None or known[0] != version:
            networks = frozenset(network for pod in self._index.members(wanted) for network in self._hosts_of(pod))
            known = self._networks[wanted] = (version, networks)
        return known[1]

    def by_port(self, wanted: PodSet, named: NamedPorts) -> Mapping[int, frozenset[Network]]:
        """The members' addresses under each number that they give to a port's name."""
        self._asked.add(wanted)
        found: dict[int, list[Network]] = {}
        for pod in self._index.members(wanted):
            for number in pod.ports(named.name, named.protocol):
                found.setdefault(number, []).extend(self._hosts_of(pod))
        return {number: frozenset(networks) for number, networks in found.items()}

    def keep(self, used: Collection[PodSet]) -> None:
        """Forget all other sets, and pods that are as they were no longer."""
        self._networks = {wanted: known for wanted, known in self._networks.items() if wanted in used}
        self._hosts = {name: known for name, known in self._hosts.items() if self._index.covered.get(name) is known[0]}

    def _hosts_of(self, pod: CoveredPod) -> tuple[Network, ...]:
        known = self._hosts.get(pod.key)
        if known is None or known[0] is not pod:
            known = self._hosts[pod.key] = (pod, tuple(map(host, pod.addresses)))
        return known[1]
