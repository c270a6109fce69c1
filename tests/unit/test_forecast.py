"""A topology filled in memory: what is left, what fails first, how many routes; and how long the rest lasts."""

import json
from typing import Any

import pytest

from ipam.forecast import Forecast, forecast, imagined_nodes
from ipam.growth import growth
from ipam.topology.carving import carve
from ipam.topology.reading import read_document
from romana.errors import Refused

DAY = 86_400_000


def filled(
    networks: list[dict[str, Any]], groups: list[dict[str, Any]], nodes: int, pods: int, tenant: str = "default"
) -> Forecast:
    tree = {"networks": networks, "topologies": [{"networks": [network["name"]], "map": groups} for network in networks]}
    document = read_document(json.dumps(tree).encode())
    return forecast(document, imagined_nodes(carve(document), [], nodes), pods, tenant)


PODS = {"name": "pods", "cidr": "10.40.0.0/24", "block_mask": 28}
RACKS = [{"name": name, "assignment": {"rack": name}} for name in ("r1", "r2")]


def test_pods_that_all_stand() -> None:
    found = filled([PODS], RACKS, nodes=4, pods=8)
    assert (found.nodes, found.pods, found.first_failure, found.refused_nodes) == (4, 32, "", ())
    assert [(group.name, group.nodes, group.addresses_held, group.blocks_taken) for group in found.groups] == [
        ("r1", 2, 16, 2),
        ("r2", 2, 16, 2),
    ]


def test_next_blocks_are_claimed_ahead_as_the_real_one_does() -> None:
    assert sum(group.blocks_taken for group in filled([PODS], RACKS, nodes=2, pods=12).groups) == 4  # three quarters are held


def test_first_failure_names_node_and_group() -> None:
    found = filled([PODS], RACKS, nodes=2, pods=129)
    assert found.pods == 256
    assert "node-1" in found.first_failure
    assert "r1" in found.first_failure


def test_routes_with_and_without_aggregation() -> None:
    found = filled([PODS], RACKS, nodes=4, pods=8)
    assert (found.routes, found.routes_aggregated) == (3, 2)  # the other rack's prefix, and the node beside


def test_both_families_are_given_together_or_not_at_all() -> None:
    six = {"name": "six", "cidr": "fd00:10::/124", "block_mask": 124}
    found = filled([{**PODS, "dual": "six"}, six], [{"name": "all"}], nodes=1, pods=20)
    assert found.pods == 16
    assert "six" in found.first_failure
    assert [group.addresses_held for group in found.groups] == [16, 16]


def test_listed_hosts_are_the_first_nodes_and_others_fit_nowhere() -> None:
    groups = [{"name": "slot", "groups": [{"name": "h1", "ip": "192.0.2.1"}]}]
    assert filled([PODS], groups, nodes=1, pods=1).pods == 1


def test_tenant_that_no_network_admits_is_refused() -> None:
    with pytest.raises(Refused, match="no network admits tenant 'x'"):
        filled([{**PODS, "tenants": ["y"]}], RACKS, nodes=1, pods=1, tenant="x")


@pytest.mark.parametrize(
    ("held", "ended", "per_day", "days_left"),
    [
        ([], [], 0.0, None),
        ([0] * 10, [], 0.0, None),
        ([0] * 10 + [13 * DAY] * 14, [], 2.0, 50.0),
        ([0] * 10, [(0, 13 * DAY)] * 7, -1.0, None),
        ([0, *[9 * DAY] * 7], [(8 * DAY, 10 * DAY)] * 5, 1.0, 100.0),
    ],
)
def test_growth_is_what_changed_since_a_week_ago(
    held: list[int], ended: list[tuple[int, int]], per_day: float, days_left: float | None
) -> None:
    found = growth("pods", held, ended, free=100, now_ms=14 * DAY)
    assert (found.live, found.per_day, found.days_left) == (len(held), per_day, days_left)


def test_a_cluster_younger_than_a_week_is_measured_over_its_age() -> None:
    assert growth("pods", [12 * DAY, *[13 * DAY] * 10], [], free=55, now_ms=14 * DAY).days_left == 11.0
    assert growth("pods", [12 * DAY], [], free=55, now_ms=14 * DAY).over_days == 2.0
