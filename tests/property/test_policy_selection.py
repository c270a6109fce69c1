"""The index of selections gives what a look at everything gives, whatever the order of events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from policyd.selection import PodSet, select
from policyd.selection_index import SelectionIndex
from tests import policy_strategies as draw
from tests.policy_events import EVENTS, SETS, Event, Objects


def check(index: SelectionIndex, objects: Objects, asked: list[PodSet]) -> None:
    found = select(objects.cluster(), asked)
    assert {name: index.policies_of(name) for name in index.covered} == found.policies
    assert {wanted: index.set_of(wanted).names for wanted in found.members} == found.members


@settings(draw.UNHURRIED)
@given(draw.worlds(), st.lists(SETS, min_size=1, max_size=12), st.lists(EVENTS | SETS, max_size=30))
def test_index_equals_from_scratch_after_any_events(world: draw.World, asked: list[PodSet], steps: list[Event | PodSet]) -> None:
    objects = Objects(world)
    index = SelectionIndex.of(objects.cluster())
    for step in [*asked, *steps]:
        if isinstance(step, Event):
            step(index)
            step(objects)
        else:
            asked = [*asked, step]
        check(index, objects, asked)


@settings(draw.UNHURRIED)
@given(draw.worlds(), st.lists(SETS, min_size=2, max_size=12, unique=True), st.lists(EVENTS, max_size=10))
def test_sets_that_are_not_kept_are_found_anew(world: draw.World, asked: list[PodSet], steps: list[Event]) -> None:
    objects = Objects(world)
    index = SelectionIndex.of(objects.cluster())
    kept = [index.set_of(wanted) for wanted in asked]
    index.keep(set(kept[::2]))
    for step in steps:
        step(index)
        step(objects)
    assert [index.set_of(wanted) is before for wanted, before in zip(asked, kept, strict=True)][:2] == [True, False]
    check(index, objects, asked)
