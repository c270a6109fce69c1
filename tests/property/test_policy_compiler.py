"""What is compiled for the nodes lets through what the evaluator allows, nothing more and nothing less."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policyd.cluster import Cluster, Endpoint, NamespaceState
from policyd.compiler import Compiler, compile_cluster
from policyd.selection_index import SelectionIndex
from policyd.selection_scope import ALL, namespaces_in_scope
from policyd.verdict import verdict
from tests import policy_strategies as draw
from tests.policy_events import EVENTS, Event, Objects
from tests.policy_packets import Kernels, Packet, check_shape

PROBES = st.lists(draw.PROBES, min_size=1, max_size=3)


@settings(draw.UNHURRIED)
@given(draw.worlds(), PROBES)
def test_compiled_nodes_forward_just_what_the_evaluator_allows(world: draw.World, probes: list[tuple[Any, Any]]) -> None:
    cluster = Objects(world).cluster()
    nodes = {node: compile_cluster(cluster, node) for node in draw.NODES}
    kernels = Kernels(nodes, set(cluster.holders))
    for compiled in nodes.values():
        check_shape(compiled)
    everyone = [*cluster.holders, *draw.OUTSIDE]
    for source in everyone:
        for destination in everyone:
            for protocol, port in probes if source.version == destination.version else ():
                found = verdict(cluster, source, destination, port, protocol)
                assert kernels.forward(Packet(source, destination, protocol, port)) is found.allowed, (source, destination, port)


@settings(draw.UNHURRIED)
@given(draw.worlds(), st.lists(st.tuples(EVENTS, st.booleans()), max_size=30))
def test_compiling_by_events_equals_compiling_from_scratch(world: draw.World, steps: list[tuple[Event, bool]]) -> None:
    objects = Objects(world)
    index = SelectionIndex.of(objects.cluster())
    work = Compiler(index, "n1")
    assert work.compile() == compile_cluster(objects.cluster(), "n1")
    for event, now in steps:
        event(index)
        event(objects)
        if now:
            assert work.compile() == compile_cluster(objects.cluster(), "n1")
    assert work.compile() == compile_cluster(objects.cluster(), "n1")


@settings(draw.UNHURRIED)
@given(st.lists(EVENTS, max_size=40), st.randoms())
def test_order_of_events_does_not_matter(steps: list[Event], random: Any) -> None:
    last = {(step[0].partition("_")[2], subject(step)): step for step in steps}
    shuffled = list(last.values())
    random.shuffle(shuffled)
    results = []
    for order in (steps, shuffled):
        index = SelectionIndex()
        for step in order:
            step(index)
        results.append([Compiler(index, node).compile() for node in draw.NODES])
    assert results[0] == results[1]


@settings(draw.UNHURRIED)
@given(draw.worlds())
def test_namespaces_in_scope_are_all_that_a_node_needs(world: draw.World) -> None:
    objects = Objects(world)
    whole = objects.cluster()
    local = {endpoint.owner for endpoint in whole.endpoints if endpoint.node == "n1"}
    own = [pod for pod in whole.pods.values() if pod.key in local]
    scope = namespaces_in_scope(objects.policies.values(), own, whole.namespaces)
    pods = [pod for pod in whole.pods.values() if scope is ALL or pod.namespace in scope]
    endpoints = [one for one in whole.endpoints if scope is ALL or one.namespace in scope or one.node == "n1"]
    part = Cluster.of(whole.namespaces.values(), pods, endpoints, objects.policies.values())
    assert compile_cluster(part, "n1") == compile_cluster(whole, "n1")


def subject(step: Event) -> object:
    """What an event is about: the last one of each subject is what counts."""
    first = step[1][0]
    if isinstance(first, Endpoint):
        return tuple(first.owner)
    if isinstance(first, NamespaceState):
        return first.name
    return first if isinstance(first, str) else tuple(getattr(first, "key", first))
