"""The evaluator says what the naive reading of the documentation says."""

from typing import Any

from hypothesis import given, settings

from policyd.cluster import PodState
from policyd.verdict import verdict
from tests import naive_policy
from tests import policy_strategies as draw
from tests.policy_events import Objects


def naive_pod(pod: PodState) -> naive_policy.NaivePod:
    ports = [{"name": port.name, "port": port.port, "protocol": port.protocol.name} for port in pod.named_ports]
    return naive_policy.NaivePod(*pod.key, pod.labels, ports, [str(address) for address in draw.addresses(pod.key)])


@settings(draw.UNHURRIED)
@given(draw.worlds(odd=False), draw.PROBES)
def test_evaluator_equals_naive_evaluator(world: draw.World, probe: tuple[Any, Any]) -> None:
    labels = {namespace.name: namespace.labels for namespace in world.namespaces}
    naive = naive_policy.NaiveCluster(labels, [naive_pod(pod) for pod in world.pods], world.policies)
    cluster, (protocol, port) = Objects(world).cluster(), probe
    everyone = [*cluster.holders, *draw.OUTSIDE]
    for source in everyone:
        for destination in everyone:
            if source.version == destination.version:
                found = verdict(cluster, source, destination, port, protocol)
                name = protocol.name if protocol else "ICMP"
                assert found.allowed is naive_policy.allows(naive, str(source), str(destination), name, port), (
                    source,
                    destination,
                )
