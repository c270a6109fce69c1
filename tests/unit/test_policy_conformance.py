"""Every conformance case: after each step the evaluator and what is compiled for the nodes give the whole expected matrix."""

from ipaddress import IPv4Address

import pytest

from policyd.compiler import compile_cluster
from policyd.verdict import verdict
from tests import cases
from tests.policy_packets import Kernels, Packet

pytestmark = pytest.mark.skipif(bool(cases.LACKING), reason=cases.LACKING or "-")


@pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.id)
def test_evaluator_gives_the_expected_matrix_after_every_step(case: cases.Case) -> None:
    live = cases.Live.of(case)
    for step in case.steps:
        for action in step["actions"]:
            live.apply(action)
        cluster, probes = live.cluster(), cases.expected(case, step, live)
        assert probes
        assert [policy.problem for policy in live.parsed() if policy.problem] == []
        found = [verdict(cluster, p.source, p.destination, p.port, p.protocol).allowed for p in probes]
        assert found == [probe.allowed for probe in probes]


@pytest.mark.parametrize("case", cases.load(), ids=lambda case: case.id)
def test_compiled_nodes_give_the_expected_matrix_after_every_step(case: cases.Case) -> None:
    live = cases.Live.of(case)
    for step in case.steps:
        for action in step["actions"]:
            live.apply(action)
        cluster = live.cluster()
        nodes = {node: compile_cluster(cluster, node) for node in cases.NODES}
        kernels, probes = Kernels(nodes, set(cluster.holders)), cases.expected(case, step, live)
        found = [kernels.forward(Packet(live.address(p.source), live.address(p.destination), p.protocol, p.port)) for p in probes]
        assert found == [probe.allowed for probe in probes]


@pytest.mark.parametrize("case", [case for case in cases.load() if case.ip_dependent], ids=lambda case: case.id)
def test_matrix_that_depends_on_addresses_is_worked_out_again_for_real_ones(case: cases.Case) -> None:
    nominal, real = cases.Live.of(case), cases.Live.of(case)
    real.addresses = {name: IPv4Address(f"10.88.{index * 3}.{index * 5 + 7}") for index, name in enumerate(real.pods)}
    for step in case.steps:
        for action in step["actions"]:
            nominal.apply(action)
            real.apply(action)
        judged = [(p.source, p.destination, p.protocol, p.port) for p in cases.expected(case, step, nominal)]
        probes, cluster = cases.expected(case, step, real), real.cluster()
        assert [(p.source, p.destination, p.protocol, p.port) for p in probes] == judged
        found = [verdict(cluster, p.source, p.destination, p.port, p.protocol).allowed for p in probes]
        assert found == [probe.allowed for probe in probes]


@pytest.mark.parametrize("case", [case for case in cases.load() if case.ip_dependent], ids=lambda case: case.id)
def test_working_out_again_gives_the_matrix_of_the_file_for_the_nominal_addresses(case: cases.Case) -> None:
    filed, again = cases.Live.of(case), cases.Live.of(case)
    again.addresses = {name: again.address(name) for name in again.pods}
    for step in case.steps:
        for action in step["actions"]:
            filed.apply(action)
            again.apply(action)
        assert cases.expected(case, step, again) == cases.expected(case, step, filed)
