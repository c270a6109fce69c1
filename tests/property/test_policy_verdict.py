"""The evaluator says what the naive reading of the documentation says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policyd.cluster import Cluster, Endpoint, NamespaceState, PodState
from policyd.verdict import verdict
from tests import naive_policy
from tests import policy_strategies as draw
from tests.policy_events import parsed

PODS = st.lists(draw.pod_states(), max_size=6, unique_by=lambda pod: pod.key)
LABELLED = st.fixed_dictionaries(dict.fromkeys(draw.NAMESPACES, draw.LABELS))


def naive_pod(pod: PodState) -> naive_policy.NaivePod:
    ports = [{"name": port.name, "port": port.port, "protocol": port.protocol.name} for port in pod.named_ports]
    return naive_policy.NaivePod(*pod.key, pod.labels, ports, [str(address) for address in draw.addresses(pod.key)])


@given(LABELLED, PODS, st.lists(draw.ANONYMOUS, max_size=1), draw.POLICY_LISTS, draw.PROBES)
def test_evaluator_equals_naive_evaluator(
    labels: dict[str, dict[str, str]],
    pods: list[PodState],
    anonymous: list[Endpoint],
    policies: list[Any],
    probe: tuple[Any, Any],
) -> None:
    naive = naive_policy.NaiveCluster(labels, [naive_pod(pod) for pod in pods], policies)
    endpoints = [draw.endpoint(pod.key, "n1") for pod in pods]
    states = [NamespaceState(name, found) for name, found in labels.items()]
    cluster = Cluster.of(states, pods, [*endpoints, *anonymous], [parsed(policy) for policy in policies])
    protocol, port = probe
    everyone = [address for one in [*endpoints, *anonymous] for address in one.addresses] + list(draw.OUTSIDE)
    for source in everyone:
        for destination in everyone:
            if source.version == destination.version:
                found = verdict(cluster, source, destination, port, protocol)
                name = protocol.name if protocol else "ICMP"
                assert found.allowed is naive_policy.allows(naive, str(source), str(destination), name, port), (
                    source,
                    destination,
                )
