"""The conformance cases with real packets: three nodes, pods by the CNI program, the whole matrix when waiting has ended.

A plain run takes a sample with every suite and every tag; the rest is `long`. Pods that the next case has too stay.
"""

from collections.abc import Iterator

import pytest

from tests import cases
from tests.e2e.policy_world import Stage, play

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(cases.LACKING), reason=cases.LACKING or "-")]

SAMPLE = 25


def sample(found: list[cases.Case], size: int) -> set[str]:
    """The ids of cases that have every suite and tag between them, the greediest first; filled up evenly."""
    traits = {case.id: {case.id.partition("-")[0], *case.tags} for case in found}
    missing, chosen = set().union(*traits.values()), list[str]()
    while missing:
        best = max(traits, key=lambda name: len(traits[name] & missing))
        chosen.append(best)
        missing -= traits[best]
    rest = [case.id for case in found if case.id not in chosen]
    wanted = max(size - len(chosen), 0)
    return {*chosen, *(rest[index * len(rest) // wanted] for index in range(wanted))}


def by_cluster(found: list[cases.Case]) -> list[cases.Case]:
    """In such an order that pods seldom come and go."""
    return sorted(found, key=lambda case: (len(case.cluster["pods"]), repr(case.cluster), case.id), reverse=True)


def parameters() -> Iterator[object]:
    """Every case; those outside the sample are `long`."""
    found = cases.load()
    chosen = sample(found, SAMPLE) if found else set()
    for case in by_cluster(found):
        yield pytest.param(case, id=case.id, marks=() if case.id in chosen else pytest.mark.long)


@pytest.mark.parametrize("case", list(parameters()))
def test_packets_are_as_the_case_says_the_moment_that_waiting_ends(live: Stage, case: cases.Case) -> None:
    live.run(play(live.world, case))
