"""Keeps selections up to date while objects come and go, so that an event costs what it changes. Pure.

    put/remove of namespaces, pods, endpoints, policies --> joined pods --> policies of a pod, members of a set (asked for once,
    kept since), and a version per set that moves whenever its members, their addresses or their named ports do

One owner, one task. The answer never depends on the order of events: `policyd.selection.select` gives the same from scratch.
"""

from collections.abc import Iterable
from typing import Self

from policyd.cluster import Cluster, CoveredPod, Endpoint, NamespaceState, PodState, covered_pod
from policyd.policy import NetworkPolicy, ObjectName, PodPeer
from policyd.selection import PodSet, is_in
from policyd.selection_buckets import SelectorBuckets
from policyd.selection_pods import PodsByTrait, port_names

__all__ = ["SelectionIndex"]


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
        self._members: dict[PodSet, set[ObjectName]] = {}
        self._versions: dict[PodSet, int] = {}
        self._peers = SelectorBuckets[PodPeer]()
        self._clock = 0

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

    def members(self, wanted: PodSet) -> Iterable[CoveredPod]:
        """The covered pods of a set."""
        return (self.covered[name] for name in self._tracked(wanted))

    def version(self, wanted: PodSet) -> int:
        """A number that no other state of this set ever had, as long as it is kept."""
        self._tracked(wanted)
        return self._versions[wanted]

    def keep(self, sets: Iterable[PodSet]) -> None:
        """Forget the members of all other sets; they are found anew when asked for."""
        for unused in self._members.keys() - set(sets):
            del self._members[unused], self._versions[unused]
            if isinstance(unused, PodPeer):
                self._peers.remove(unused, _scope(unused), unused.pods)

    # Upkeep.

    def _tracked(self, wanted: PodSet) -> set[ObjectName]:
        if wanted not in self._members:
            self._members[wanted] = self._found(wanted)
            self._move([wanted])
            if isinstance(wanted, PodPeer):
                self._peers.add(wanted, _scope(wanted), wanted.pods)
        return self._members[wanted]

    def _found(self, wanted: PodSet) -> set[ObjectName]:
        """Members of a set that is not kept yet."""
        candidates: Iterable[ObjectName] | None = self._traits.candidates(wanted)
        if candidates is None and isinstance(wanted, PodPeer) and not isinstance(wanted.namespaces, str):
            meant = [namespace.name for namespace in self.namespaces.values() if wanted.namespaces.matches(namespace.labels)]
            candidates = (name for namespace in meant for name in self._traits.in_namespace(namespace))
        return {name for name in candidates or () if is_in(self.covered[name], wanted, self.namespaces)}

    def _move(self, sets: Iterable[PodSet]) -> None:
        self._clock += 1
        self._versions.update(dict.fromkeys(sets, self._clock))

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
        for wanted in before - after:
            self._members[wanted].discard(name)
        for wanted in after - before:
            self._members[wanted].add(name)
        self._move(before ^ after if _same_on_the_wire(old, new) else before | after)

    def _sets_of(self, pod: CoveredPod | None) -> set[PodSet]:
        """The kept sets that a pod is in."""
        if pod is None:
            return set()
        peers = self._peers.matching(pod.key.namespace, pod.labels)
        found: set[PodSet] = {peer for peer in peers if is_in(pod, peer, self.namespaces)}
        return found | {named for named in port_names(pod) if named in self._members}

    def _change_namespace(self, name: str, new: NamespaceState | None) -> None:
        old = self.namespaces.pop(name, None)
        if new:
            self.namespaces[name] = new
        if old == new:
            return
        pods = self._traits.in_namespace(name)
        for peer in [wanted for wanted in self._members if isinstance(wanted, PodPeer) and _flips(wanted, old, new)]:
            members = self._members[peer]
            members -= pods
            members |= {pod for pod in pods if is_in(self.covered[pod], peer, self.namespaces)}
            self._move([peer])


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
