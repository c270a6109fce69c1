"""Covered pods by what they have: a namespace, a label, a port's name. Pure."""

from collections.abc import Iterator, Set

from policyd.cluster import CoveredPod
from policyd.policy import NamedPorts, ObjectName
from policyd.selection_buckets import anchors
from policyd.selector import Selector

__all__ = ["PodsByTrait", "port_names"]

Trait = str | tuple[str, str] | NamedPorts  # a namespace, a label, a port's name


class PodsByTrait:
    """Names of pods under each of their traits."""

    def __init__(self) -> None:
        self._pods: dict[Trait, set[ObjectName]] = {}

    def change(self, name: ObjectName, old: CoveredPod | None, new: CoveredPod | None) -> None:
        """Put one state of a pod in the place of another; None: it was not there, or is there no longer."""
        before, after = set(_traits(old)), set(_traits(new))
        for trait in before - after:
            self._pods[trait].discard(name)
            if not self._pods[trait]:
                del self._pods[trait]
        for trait in after - before:
            self._pods.setdefault(trait, set()).add(name)

    def in_namespace(self, namespace: str) -> Set[ObjectName]:
        """Every covered pod of a namespace."""
        return self._pods.get(namespace, frozenset())

    def naming(self, ports: NamedPorts) -> Set[ObjectName]:
        """Every covered pod that has a port of this name."""
        return self._pods.get(ports, frozenset())

    def candidates(self, namespaces: Set[str], selector: Selector) -> Set[ObjectName]:
        """Few pods among which all are that the selector selects in these namespaces."""
        pairs = [(key, value) for key, value in anchors(selector) if key is not None and value is not None]
        if not pairs:
            return frozenset[ObjectName]().union(*map(self.in_namespace, namespaces))
        labelled = frozenset[ObjectName]().union(*(self._pods.get(pair, ()) for pair in pairs))
        return labelled.intersection(*map(self.in_namespace, namespaces)) if len(namespaces) == 1 else labelled


def port_names(pod: CoveredPod) -> Iterator[NamedPorts]:
    """The sets of pods that a pod is in because of its ports' names."""
    return (NamedPorts(port.protocol, port.name) for port in pod.named_ports)


def _traits(pod: CoveredPod | None) -> Iterator[Trait]:
    if pod:
        yield pod.key.namespace
        yield from pod.labels.items()
        yield from port_names(pod)
