"""What policyd last heard from the store, kept in the index that the compiler reads.

    policies/, namespaces/, attachments/<node>/  --watch-->  SelectionIndex  <--watch--  pods/, endpoints/ in scope
                        |                                                                        ^
                        +---------- which namespaces can this node's policies mean? -------------+

Endpoints of this node come from its attachments alone, those of other nodes from `endpoints/`: never from two streams at once.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from policyd import records
from policyd.cluster import Endpoint, PodState
from policyd.policy import NetworkPolicy, ObjectName
from policyd.scope import ScopedWatch
from policyd.selection_index import SelectionIndex
from policyd.selection_scope import ALL, namespaces_in_scope
from romana import keys
from romana.errors import InvalidInput
from romana.reconcile import Source
from romana.store.api import Event, Store
from romana.store.reflector import Reflector

__all__ = ["Local", "State"]


@dataclass(frozen=True, slots=True)
class Local:
    """An attachment of this node."""

    endpoint: Endpoint
    revision: int
    """mod_revision of its key."""


class State:
    """Owned by the daemon's loop; `index` is what the compiler reads."""

    def __init__(self, store: Store, node: str) -> None:
        self.index = SelectionIndex()
        self.local: dict[str, Local] = {}
        """By the attachment's key."""
        self.bad: dict[str, str] = {}
        """Keys that cannot be read -> why; policies among them isolate and allow nothing."""
        self._node = node
        self._policies: dict[ObjectName, NetworkPolicy] = {}
        self._pods: dict[ObjectName, PodState] = {}
        self._base = [
            (Reflector(store, keys.POLICIES), self._take_policy),
            (Reflector(store, keys.NAMESPACES), self._take_namespace),
            (Reflector(store, keys.join(keys.ATTACHMENTS, node) + "/"), self._take_attachment),
        ]
        self._whole: set[str] = set()
        self._scoped = ScopedWatch(store, self._take_scoped)

    def sources(self) -> list[Source]:
        """What the loop follows."""
        base = [Source(copy.prefix, partial(self._follow, copy, take)) for copy, take in self._base]
        return [*base, Source("pods and endpoints", self._follow_scoped)]

    @property
    def whole(self) -> bool:
        """Whether everything that the policies of this node's pods mean has been heard of."""
        return len(self._whole) == len(self._base) and self._scoped.whole

    @property
    def applied(self) -> Mapping[str, int]:
        """Per watched prefix, the revision that the index has reached."""
        return {**{copy.prefix: copy.revision for copy, _ in self._base}, **self._scoped.revisions}

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """What is wrong with what the store holds, as (id, text)."""
        closed = [("policy-unreadable", policy.problem) for policy in self._policies.values() if policy.problem]
        return (*closed, *(("bad-record", text) for text in self.bad.values()))

    async def _follow(self, copy: Reflector, take: Callable[[Event], None]) -> AsyncIterator[None]:
        async for update in copy.updates():
            for event in update.events:
                self._guarded(take, event)
            self._whole.add(copy.prefix)
            self._rescope()
            yield

    async def _follow_scoped(self) -> AsyncIterator[None]:
        async for _ in self._scoped.updates():
            self._rescope()
            if self._scoped.whole:
                yield

    def _rescope(self) -> None:
        """Pods of the node's own namespaces first: only they tell what the policies mean."""
        if len(self._whole) < len(self._base):
            return
        names = {ObjectName(local.endpoint.namespace, local.endpoint.pod) for local in self.local.values()}
        pods = [pod for name in names if (pod := self._pods.get(name))]
        found = namespaces_in_scope(self._policies.values(), pods, self.index.namespaces)
        own = {name.namespace for name in names if name.namespace != keys.ANONYMOUS}
        self._scoped.want(None if found is ALL else found | own)

    def _guarded(self, take: Callable[[Event], None], event: Event) -> None:
        """A record that cannot be read counts as absent: it opens nothing."""
        self.bad.pop(event.key, None)
        try:
            take(event)
        except InvalidInput as err:
            self.bad[event.key] = str(err)
            take(Event(event.key, event.mod_revision, None))

    def _take_policy(self, event: Event) -> None:
        namespace, _, name = keys.split(keys.POLICIES, event.key, 3)
        policy = records.read_policy(event.value) if event.value else None
        if policy:
            self._policies[policy.key] = policy
            self.index.put_policy(policy)
        elif self._policies.pop(ObjectName(namespace, name), None):
            self.index.remove_policy(ObjectName(namespace, name))

    def _take_namespace(self, event: Event) -> None:
        (name,) = keys.split(keys.NAMESPACES, event.key, 1)
        if event.value:
            self.index.put_namespace(records.read_namespace(event.value))
        else:
            self.index.remove_namespace(name)

    def _take_attachment(self, event: Event) -> None:
        known = self.local.pop(event.key, None)
        endpoint = records.read_attachment(event.value) if event.value else None
        if known and (
            endpoint is None or (known.endpoint.owner, known.endpoint.container) != (endpoint.owner, endpoint.container)
        ):
            self.index.remove_endpoint(known.endpoint.owner, known.endpoint.container)
        if endpoint:
            self.local[event.key] = Local(endpoint, event.mod_revision)
            self.index.put_endpoint(endpoint)

    def _take_scoped(self, event: Event) -> None:
        self._guarded(self._take_pod if event.key.startswith(keys.PODS) else self._take_endpoint, event)

    def _take_pod(self, event: Event) -> None:
        name = ObjectName(*keys.split(keys.PODS, event.key, 2))
        if event.value:
            self._pods[name] = records.read_pod(event.value)
            self.index.put_pod(self._pods[name])
        else:
            self._pods.pop(name, None)
            self.index.remove_pod(name)

    def _take_endpoint(self, event: Event) -> None:
        namespace, pod, container = keys.split(keys.ENDPOINTS, event.key, 3)
        endpoint = records.read_endpoint(event.value) if event.value else None
        owner = ObjectName(namespace, pod)
        if endpoint is None and not self._is_local(owner, container):
            self.index.remove_endpoint(owner, container)
        elif endpoint and endpoint.node != self._node:
            self.index.put_endpoint(endpoint)

    def _is_local(self, owner: ObjectName, container: str) -> bool:
        return any(_place(local.endpoint) == (owner, container) for local in self.local.values())


def _place(endpoint: Endpoint) -> tuple[ObjectName, str]:
    """What tells one endpoint from another."""
    return endpoint.owner, endpoint.container
