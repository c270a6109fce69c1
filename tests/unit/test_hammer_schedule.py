"""What the hammer draws repeats with the seed and leaves nothing out; the topologies that it applies are right by themselves."""

from itertools import product
from random import Random

from ipam.topology.carving import carve
from ipam.topology.reading import read_document
from romana.bench.hammer import blows, draws
from romana.bench.hammer.world import RACKS, Variant, document, nodes, pods, reserved_cidr

CROWDS = (("ipamd-1", "ipamd-2", "ipamd-3"), ("etcd-1", "etcd-2", "etcd-3"))
DRAWN = 2000


def _random(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a repeatable draw is the point


def _blows(seed: int) -> list[blows.Blow]:
    random = _random(seed)
    return [blows.next_blow(random, CROWDS, 4.0) for _ in range(DRAWN)]


def test_one_seed_gives_the_same_blows_and_acts_again() -> None:
    assert _blows(1) == _blows(1)
    assert _blows(1) != _blows(2)
    acts = [[draws.next_act(random, 6, 3, 64, full=False) for _ in range(9)] for random in (_random(1), _random(1))]
    assert acts[0] == acts[1]


def test_every_process_is_killed_and_frozen_and_a_quorum_is_lost_at_times() -> None:
    drawn = _blows(3)
    for kind in (blows.Kind.KILL, blows.Kind.FREEZE):
        hit = {victim for blow in drawn if blow.kind is kind for victim in blow.victims}
        assert hit == {victim for crowd in CROWDS for victim in crowd}
    assert any(len(blow.victims) == 2 for blow in drawn)
    assert all(len(blow.victims) <= 2 for blow in drawn)
    assert all((blow.kind is blows.Kind.COMPACT) == (not blow.victims) for blow in drawn)


def test_of_one_member_and_one_ipamd_never_two_are_hit() -> None:
    random = _random(4)
    drawn = [blows.next_blow(random, (("ipamd-1",), ("etcd-1",)), 4.0) for _ in range(DRAWN)]
    assert all(len(blow.victims) <= 1 for blow in drawn)


def test_every_kind_of_act_comes_and_a_full_client_only_releases() -> None:
    random = _random(5)
    assert {draws.next_act(random, 6, 3, 64, full=False).kind for _ in range(DRAWN)} == set(draws.Kind)
    assert {draws.next_act(random, 6, 3, 64, full=True).kind for _ in range(DRAWN)} == set(draws.RELEASING)
    assert {draws.next_admin_act(random, 6, 3).kind for _ in range(DRAWN)} == set(draws.AdminKind)


def test_every_topology_is_right_and_has_a_group_for_every_node_and_every_fixed_address() -> None:
    for fourth_rack, extra, reserved, mask in product((False, True), (False, True), (0, 4, 8), (29, 30)):
        read = read_document(document(Variant(fourth_rack, extra, reserved, mask)))
        prefixes = {(prefix.network, dict(prefix.assignment).get("rack")): prefix for prefix in carve(read) if not prefix.pad}
        for node in nodes(6):
            assert all((network.name, node.rack) in prefixes for network in read.networks)
        main = next(network for network in read.networks if network.name == "main")
        assert len(main.reserved) == reserved
        for number, pod in enumerate(pod for pod in pods() if pod.ip):
            assert pod.ip in prefixes["main", f"r{number % RACKS + 1}"].cidr


def test_reservations_are_of_main_and_differ() -> None:
    cidrs = [reserved_cidr(number) for number in range(192)]
    assert len(set(cidrs)) == len(cidrs)
    assert all(cidr.startswith("10.0.") for cidr in cidrs)
