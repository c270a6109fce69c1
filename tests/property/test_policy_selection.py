"""The index of selections gives what a look at everything gives, whatever the order of events."""

from hypothesis import given
from hypothesis import strategies as st

from policyd.selection import select
from policyd.selection_index import SelectionIndex
from tests.policy_events import EVENTS, SETS, Objects


def check(index: SelectionIndex, objects: Objects, sets: list[object]) -> None:
    cluster = objects.cluster()
    found = select(cluster, sets)  # type: ignore[arg-type]
    assert {name: index.policies_of(name) for name in index.covered} == found.policies
    members = {wanted: index.set_of(wanted).names for wanted in found.members}
    assert members == found.members


@given(st.lists(EVENTS | SETS, max_size=60))
def test_index_equals_from_scratch_after_any_events(steps: list[object]) -> None:
    index, objects, asked = SelectionIndex(), Objects(), []
    for step in steps:
        if callable(step):
            step(index)
            step(objects)
        else:
            asked.append(step)
        check(index, objects, asked)
