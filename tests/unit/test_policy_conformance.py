"""Every conformance case: after each step the evaluator and what is compiled for the nodes give the whole expected matrix."""

import pytest

from policyd.verdict import verdict
from tests import cases

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
