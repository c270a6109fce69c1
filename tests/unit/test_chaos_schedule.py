"""Faults come from the seed alone, reach every victim, and take two members only where a third is left."""

from random import Random

from romana.bench.chaos.schedule import Kind, next_fault

DAEMONS, MEMBERS = ("ipamd", "agent@n1"), ("etcd", "etcd-2", "etcd-3")


def test_one_seed_gives_one_schedule() -> None:
    first, second, other = (Random(seed) for seed in (7, 7, 8))  # noqa: S311 - a repeatable draw is the point
    drawn = [[next_fault(source, DAEMONS, MEMBERS) for _ in range(50)] for source in (first, second, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_everybody_is_hit_in_every_way_and_never_three_members_at_once() -> None:
    source = Random(1)  # noqa: S311 - a repeatable draw is the point
    faults = [next_fault(source, DAEMONS, MEMBERS) for _ in range(2000)]
    assert {(fault.kind, victim) for fault in faults for victim in fault.victims} == {
        (kind, victim) for kind in Kind for victim in (*DAEMONS, *MEMBERS)
    }
    assert {len(fault.victims) for fault in faults} == {1, 2}
    assert all(fault.lasts_s > 0 for fault in faults if fault.kind is Kind.FREEZE)
    supervisor = {next_fault(source, ("supervisor",), ()).kind for _ in range(50)}
    assert supervisor == {Kind.KILL, Kind.FREEZE}  # SIGTERM would end the lab
    assert all(len(next_fault(source, DAEMONS, ("etcd",)).victims) == 1 for _ in range(200))
