"""Keeps selections up to date while objects come and go, so that an event costs what it changes. Pure.

    put/remove of namespaces, pods, endpoints, policies --> joined pods --> policies of a pod; sets of pods (found when first
    asked for, kept up to date since)

One owner, one task. The answer never depends on the order of events: `policyd.selection.select` gives the same from scratch.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from policyd.cluster import Cluster, CoveredPod, Endpoint, NamespaceState, PodState, covered_pod
from policyd.policy import NamedPorts, NetworkPolicy, ObjectName, PodPeer
from policyd.selection import PodSet, is_in
from policyd.selection_buckets import SelectorBuckets
from policyd.selection_pods import PodsByTrait, port_names
from policyd.selector import Selector

__all__ = ["KeptSet", "SelectionIndex"]


@dataclass(eq=False, slots=True)
class KeptSet:
    """A set of pods that the index keeps up to date. `version` moves whenever its members, their addresses or port names do."""

    wanted: PodSet
    names: set[ObjectName]
    version: int = 0


class SelectionIndex:
    """Objects of the cluster as last heard of, and what is selected among them."""

    def __init__(self) -> None:
        self.namespaces: dict[str, NamespaceState] = {}
        self.covered: dict[ObjectName, CoveredPod] = {}
        self._pods: dict[ObjectName, PodState] = {}
        self._endpoints: dict[ObjectName, dict[str, Endpoint]] = {}
        self._on_node: dict[str, dict[tuple[str, str, str], Endpoint]] = {}
        self._traits = PodsByTrait()
        self._policies: dict[ObjectName, NetworkPolicy] = {}
        self._selectors = SelectorBuckets[ObjectName]()
        self._selecting: dict[str, dict[ObjectName, tuple[NetworkPolicy, ...]]] = {}  # by namespace, by pod
        self._kept: dict[PodSet, KeptSet] = {}
        self._peers = SelectorBuckets[PodPeer]()

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """The index of a whole cluster."""
        index = cls()
        for namespace in cluster.namespaces.values():
            index.put_namespace(namespace)
        for policies in cluster.policies.values():
            for policy in policies:
                index.put_policy(policy)
        for pod in cluster.pods.values():
            index.put_pod(pod)
        for endpoint in cluster.endpoints:
            index.put_endpoint(endpoint)
        return index

    # Events: each may come again, and in any order.

    def put_namespace(self, namespace: NamespaceState) -> None:
        """A namespace is there, or has other labels."""
        self._change_namespace(namespace.name, namespace)

    def remove_namespace(self, name: str) -> None:
        """A namespace is gone; its pods are told of by themselves."""
        self._change_namespace(name, None)

    def put_pod(self, pod: PodState) -> None:
        """A pod is there, or has changed."""
        self._pods[pod.key] = pod
        self._join(pod.key)

    def remove_pod(self, name: ObjectName) -> None:
        """A pod is gone; what remains of its endpoints is joined to none."""
        self._pods.pop(name, None)
        self._join(name)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """An attachment has its addresses."""
        self.remove_endpoint(endpoint.owner, endpoint.container, join=False)
        self._endpoints.setdefault(endpoint.owner, {})[endpoint.container] = endpoint
        self._on_node.setdefault(endpoint.node, {})[*endpoint.owner, endpoint.container] = endpoint
        self._join(endpoint.owner)

    def remove_endpoint(self, owner: ObjectName, container: str, *, join: bool = True) -> None:
        """An attachment is gone."""
        endpoint = self._endpoints.get(owner, {}).pop(container, None)
        if endpoint:
            del self._on_node[endpoint.node][*owner, container]
            if not self._endpoints[owner]:
                del self._endpoints[owner]
        if join:
            self._join(owner)

    def put_policy(self, policy: NetworkPolicy) -> None:
        """A policy is there, or has changed."""
        if self._policies.get(policy.key) != policy:
            self.remove_policy(policy.key)
            self._policies[policy.key] = policy
            self._selectors.add(policy.key, policy.namespace, policy.selector)

    def remove_policy(self, name: ObjectName) -> None:
        """A policy is gone."""
        self._selecting.pop(name.namespace, None)
        policy = self._policies.pop(name, None)
        if policy:
            self._selectors.remove(name, policy.namespace, policy.selector)

    # Answers.

    def endpoints_on(self, node: str) -> Iterable[Endpoint]:
        """Every endpoint of a node, joined or not."""
        return self._on_node.get(node, {}).values()

    def policies_of(self, pod: ObjectName) -> tuple[NetworkPolicy, ...]:
        """The policies that select a covered pod, by name."""
        known = self._selecting.setdefault(pod.namespace, {})
        if pod not in known:
            names = sorted(self._selectors.matching(pod.namespace, self.covered[pod].labels))
            known[pod] = tuple(self._policies[name] for name in names)
        return known[pod]

    def set_of(self, wanted: PodSet) -> KeptSet:
        """The covered pods of a set, kept up to date from now on."""
        kept = self._kept.get(wanted)
        if kept is None:
            kept = self._kept[wanted] = KeptSet(wanted, self._found(wanted))
            if isinstance(wanted, PodPeer):
                self._peers.add(wanted, _scope(wanted), wanted.pods)
        return kept

    def keep(self, used: Collection[KeptSet]) -> None:
        """Keep these sets up to date and no others."""
        for unused in [kept for kept in self._kept.values() if kept not in used]:
            del self._kept[unused.wanted]
            if isinstance(unused.wanted, PodPeer):
                self._peers.remove(unused.wanted, _scope(unused.wanted), unused.wanted.pods)

    # Upkeep.

    def _found(self, wanted: PodSet) -> set[ObjectName]:
        """Members of a set that is not kept yet."""
        if isinstance(wanted, NamedPorts):
            return set(self._traits.naming(wanted))
        namespaces = {wanted.namespaces} if isinstance(wanted.namespaces, str) else self._selected(wanted.namespaces)
        candidates = self._traits.candidates(namespaces, wanted.pods)
        return {name for name in candidates if name.namespace in namespaces and wanted.pods.matches(self.covered[name].labels)}

    def _selected(self, selector: Selector) -> set[str]:
        return {namespace.name for namespace in self.namespaces.values() if selector.matches(namespace.labels)}

    def _join(self, name: ObjectName) -> None:
        """Bring one pod up to date with its parts, and every set with it."""
        old, new = self.covered.pop(name, None), covered_pod(self._pods.get(name), self._endpoints.get(name, {}).values())
        if new:
            self.covered[name] = new
        if old == new:
            return
        self._selecting.get(name.namespace, {}).pop(name, None)
        before, after = self._sets_of(old), self._sets_of(new)
        self._traits.change(name, old, new)
        for kept in before - after:
            kept.names.discard(name)
        for kept in after - before:
            kept.names.add(name)
        for kept in before ^ after if _same_on_the_wire(old, new) else before | after:
            kept.version += 1

    def _sets_of(self, pod: CoveredPod | None) -> set[KeptSet]:
        """The kept sets that a pod is in."""
        if pod is None:
            return set()
        peers = self._peers.matching(pod.key.namespace, pod.labels)
        found = {self._kept[peer] for peer in peers if is_in(pod, peer, self.namespaces)}
        return found | {self._kept[named] for named in port_names(pod) if named in self._kept}

    def _change_namespace(self, name: str, new: NamespaceState | None) -> None:
        old = self.namespaces.pop(name, None)
        if new:
            self.namespaces[name] = new
        if old == new:
            return
        pods = self._traits.in_namespace(name)
        for kept in self._kept.values():
            if isinstance(kept.wanted, PodPeer) and _flips(kept.wanted, old, new):
                kept.names -= pods
                kept.names |= {pod for pod in pods if is_in(self.covered[pod], kept.wanted, self.namespaces)}
                kept.version += 1


def _scope(peer: PodPeer) -> str | None:
    return peer.namespaces if isinstance(peer.namespaces, str) else None


def _flips(peer: PodPeer, old: NamespaceState | None, new: NamespaceState | None) -> bool:
    """Whether a namespace's change puts it into, or takes it out of, the namespaces of a peer."""
    selector = peer.namespaces
    if isinstance(selector, str):
        return False
    return (old is not None and selector.matches(old.labels)) is not (new is not None and selector.matches(new.labels))


def _same_on_the_wire(old: CoveredPod | None, new: CoveredPod | None) -> bool:
    return old is not None and new is not None and (old.addresses, old.named_ports) == (new.addresses, new.named_ports)
