"""Which routes a node should have."""

from ipaddress import ip_address, ip_network

import pytest

from routed.desired import desired_routes
from routed.model import Block, Node, Route

N1 = Node("n1", "uid-1", (ip_address("192.0.2.1"), ip_address("2001:db8::1")))
N2 = Node("n2", "uid-2", (ip_address("192.0.2.2"), ip_address("192.0.2.99"), ip_address("2001:db8::2")))
NO_IPV6 = Node("n3", "uid-3", (ip_address("192.0.2.3"),))


def block(cidr: str, node: Node) -> Block:
    return Block(ip_network(cidr), node.name, node.uid)


def route(destination: str, next_hop: str | None) -> Route:
    return Route(ip_network(destination), None if next_hop is None else ip_address(next_hop))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param([], set(), id="no blocks, no routes"),
        pytest.param([block("10.40.0.0/29", N1)], {route("10.40.0.0/29", None)}, id="own block: unreachable"),
        pytest.param([block("10.40.0.8/29", N2)], {route("10.40.0.8/29", "192.0.2.2")}, id="first address of the family"),
        pytest.param([block("fd00::/122", N2)], {route("fd00::/122", "2001:db8::2")}, id="next hop of the block's family"),
        pytest.param(
            [block("10.40.0.0/29", N2), block("10.40.0.8/29", N2)],
            {route("10.40.0.0/29", "192.0.2.2"), route("10.40.0.8/29", "192.0.2.2")},
            id="blocks side by side are not merged",
        ),
    ],
)
def test_every_block_has_its_route(blocks: list[Block], expected: set[Route]) -> None:
    found = desired_routes("n1", [N1, N2, NO_IPV6], blocks)
    assert found.routes == expected
    assert found.problems == ()


def test_node_without_address_of_the_family_is_a_problem_and_has_no_route() -> None:
    found = desired_routes("n1", [N1, NO_IPV6], [block("fd00::/122", NO_IPV6)])
    assert found.routes == frozenset()
    assert [(problem.id, "n3" in problem.text) for problem in found.problems] == [("node-without-address", True)]


def test_recreated_node_does_not_inherit_the_blocks_of_its_name_and_that_is_no_problem() -> None:
    again = Node("n2", "uid-2-again", N2.addresses)
    found = desired_routes("n1", [N1, again], [block("10.40.0.0/29", N2)])
    assert found.routes == frozenset()
    assert found.problems == ()


def test_own_blocks_of_an_earlier_incarnation_are_not_unreachable() -> None:
    again = Node("n1", "uid-1-again", N1.addresses)
    assert desired_routes("n1", [again], [block("10.40.0.0/29", N1)]).routes == frozenset()


def test_unknown_node_says_so_and_still_reaches_the_others() -> None:
    found = desired_routes("n1", [N2], [block("10.40.0.0/29", N1), block("10.40.0.8/29", N2)])
    assert found.routes == {route("10.40.0.8/29", "192.0.2.2")}
    assert [problem.id for problem in found.problems] == ["node-unknown"]


def test_one_block_in_two_networks_has_one_route_whatever_the_order() -> None:
    twice = [block("10.40.0.0/29", N2), block("10.40.0.0/29", NO_IPV6)]
    found = desired_routes("n1", [N1, N2, NO_IPV6], twice)
    assert found == desired_routes("n1", [NO_IPV6, N2, N1], twice[::-1])
    assert found.routes == {route("10.40.0.0/29", "192.0.2.2")}
    assert [problem.id for problem in found.problems] == ["block-twice"]


def test_no_nodes_at_all_is_no_cluster_to_remove_routes_for() -> None:
    for blocks in ([], [block("10.40.0.8/29", N2)]):
        found = desired_routes("n1", [], blocks)
        assert (found.known, found.routes) == (False, frozenset())
        assert [problem.id for problem in found.problems] == ["store-empty"]
    assert desired_routes("n1", [N2], []).known
