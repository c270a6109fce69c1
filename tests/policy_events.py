"""Events for an index of selections, and the plain objects that they leave behind."""

from typing import Any

from hypothesis import strategies as st

from policyd.cluster import Cluster, Endpoint, NamespaceState, PodState
from policyd.compiled import Protocol
from policyd.policy import NamedPorts, NetworkPolicy, ObjectName, PodPeer
from policyd.policy_json import parse
from policyd.selector import Operator, Requirement, Selector
from tests import policy_strategies as draw


class Objects:
    """What the events of an index leave in plain dictionaries; the methods are the index's."""

    def __init__(self, world: draw.World) -> None:
        self.namespaces = {namespace.name: namespace for namespace in world.namespaces}
        self.pods = {pod.key: pod for pod in world.pods}
        self.endpoints = {(endpoint.owner, endpoint.container): endpoint for endpoint in world.endpoints}
        self.policies = {policy.key: policy for policy in map(parsed, world.policies)}

    def put_namespace(self, namespace: NamespaceState) -> None:
        self.namespaces[namespace.name] = namespace

    def remove_namespace(self, name: str) -> None:
        self.namespaces.pop(name, None)

    def put_pod(self, pod: PodState) -> None:
        self.pods[pod.key] = pod

    def remove_pod(self, name: ObjectName) -> None:
        self.pods.pop(name, None)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint.owner, endpoint.container] = endpoint

    def remove_endpoint(self, owner: ObjectName, container: str) -> None:
        self.endpoints.pop((owner, container), None)

    def put_policy(self, policy: NetworkPolicy) -> None:
        self.policies[policy.key] = policy

    def remove_policy(self, name: ObjectName) -> None:
        self.policies.pop(name, None)

    def cluster(self) -> Cluster:
        """All of it, as a cluster."""
        return Cluster.of(self.namespaces.values(), self.pods.values(), self.endpoints.values(), self.policies.values())


class Event(tuple[str, tuple[Any, ...]]):
    """A method's name and its arguments."""

    __slots__ = ()

    def __call__(self, target: object) -> None:
        getattr(target, self[0])(*self[1])


def events(method: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Events that call this method."""
    return st.tuples(*arguments).map(lambda drawn: Event((method, drawn)))


def parsed(document: dict[str, Any]) -> NetworkPolicy:
    """The policy of a drawn object."""
    return parse(document["metadata"]["namespace"], document["metadata"]["name"], document)


NAMES = st.sampled_from(draw.PODS)
ODD = st.booleans()
POLICY_NAMES = st.builds(ObjectName, st.sampled_from(draw.NAMESPACES), st.sampled_from(["s", "t"]))
EVENTS = st.one_of(
    events("put_namespace", draw.NAMESPACE_STATES),
    events("remove_namespace", st.sampled_from(draw.NAMESPACES)),
    events("put_pod", st.tuples(NAMES, ODD).flatmap(lambda drawn: draw.pod_state(*drawn))),
    events("remove_pod", NAMES),
    events("put_endpoint", st.tuples(NAMES, ODD).flatmap(lambda drawn: draw.endpoints(*drawn))),
    events("put_endpoint", draw.ANONYMOUS),
    events("remove_endpoint", NAMES, st.just("c")),
    events("put_policy", draw.POLICIES.map(parsed)),
    events("remove_policy", POLICY_NAMES),
)
REQUIREMENTS = st.builds(
    lambda key, operator, values: Requirement(key, operator, values if "In" in operator.value else frozenset()),
    st.sampled_from(["k", "l"]),
    st.sampled_from(Operator),
    st.sets(st.sampled_from(["1", "2", "3"]), min_size=1).map(frozenset),
)
SELECTORS = st.builds(Selector, st.frozensets(REQUIREMENTS, max_size=2))
SETS = st.builds(PodPeer, st.sampled_from(draw.NAMESPACES) | SELECTORS, SELECTORS) | st.builds(
    NamedPorts, st.sampled_from(list(Protocol)[:2]), st.sampled_from(draw.PORT_NAMES)
)
