"""Properties of routed's plans, on a table that behaves as the kernel's."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from routed.desired import desired_routes
from routed.model import Block, Delete, Installed, Node, Route
from routed.plan import installed, plan_routes
from tests.fakes.routed_table import FakeTable

IPV4 = st.builds(
    lambda net, bits: IPv4Network((0x0A280000 + net * 64 & -(1 << 32 - bits), bits)), st.integers(0, 7), st.integers(23, 29)
)
IPV6 = st.builds(lambda net: IPv6Network(((0xFD << 120) + net * 64, 122)), st.integers(0, 7))
DESTINATIONS = IPV4 | IPV6


def hops(destination: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address | None]:
    base = IPv4Address("192.0.2.0") if destination.version == 4 else IPv6Address("2001:db8::")
    return st.none() | st.integers(1, 4).map(lambda number: base + number)


ROUTES = DESTINATIONS.flatmap(lambda destination: st.builds(Route, st.just(destination), hops(destination)))
DESIRED = st.lists(ROUTES, unique_by=lambda route: route.destination, max_size=12)


def spoilt(route: Installed, other_metric: bool, tos: int, plain: bool) -> Installed:
    number = route.metric + 5 * other_metric
    return Installed(route.destination, route.next_hop, number, tos, route.type, plain)


OBSERVED = st.lists(
    st.builds(spoilt, ROUTES.map(installed), st.booleans(), st.sampled_from([0, 0, 0, 16]), st.booleans()),
    max_size=12,
    unique=True,
)


def carry_out(table: FakeTable, desired: list[Route]) -> None:
    for op in plan_routes(desired, table.routes):
        assert table.carry_out(op) is None


@given(DESIRED, OBSERVED)
def test_plan_then_replay_equals_desired_and_the_second_plan_is_empty(desired: list[Route], observed: list[Installed]) -> None:
    table = FakeTable(observed)
    carry_out(table, desired)
    assert sorted(table.routes, key=str) == sorted(map(installed, desired), key=str)
    assert plan_routes(desired, table.routes) == ()


@given(DESIRED, OBSERVED)
def test_destination_that_is_wanted_before_and_after_always_has_a_route(desired: list[Route], observed: list[Installed]) -> None:
    table = FakeTable(observed)
    kept = {route.destination for route in desired} & {old.destination for old in observed}
    for op in plan_routes(desired, observed):
        table.carry_out(op)
        assert kept <= {old.destination for old in table.routes}


@given(DESIRED, OBSERVED)
def test_right_route_is_never_touched(desired: list[Route], observed: list[Installed]) -> None:
    right = {installed(route) for route in desired} & set(observed)
    table = FakeTable(observed)
    for op in plan_routes(desired, observed):
        table.carry_out(op)
        assert right <= set(table.routes)


@given(DESIRED, OBSERVED)
def test_route_that_a_dump_shows_twice_is_there_once(desired: list[Route], observed: list[Installed]) -> None:
    assert plan_routes(desired, observed * 2) == plan_routes(desired, observed)


@given(DESIRED, OBSERVED)
def test_nothing_is_deleted_before_all_is_added(desired: list[Route], observed: list[Installed]) -> None:
    deletes = [isinstance(op, Delete) for op in plan_routes(desired, observed)]
    assert deletes == sorted(deletes)


@given(DESIRED, OBSERVED, st.data())
def test_plan_cut_short_is_finished_by_the_next_one(desired: list[Route], observed: list[Installed], data: st.DataObject) -> None:
    table = FakeTable(observed)
    plan = plan_routes(desired, observed)
    for op in plan[: data.draw(st.integers(0, len(plan)))]:
        table.carry_out(op)
    carry_out(table, desired)
    assert plan_routes(desired, table.routes) == ()


NODES = st.lists(
    st.builds(
        Node,
        st.sampled_from(["n1", "n2", "n3"]),
        st.sampled_from(["u1", "u2", "u3"]),
        st.just((IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))) | st.just((IPv4Address("192.0.2.2"),)) | st.just(()),
    ),
    unique_by=(lambda node: node.name, lambda node: node.uid),
)
BLOCKS = st.lists(st.builds(Block, DESTINATIONS, st.just("n"), st.sampled_from(["u1", "u2", "u3", "u4"])), max_size=8)


@given(NODES, BLOCKS, st.randoms())
def test_order_of_nodes_and_blocks_does_not_matter(nodes: list[Node], blocks: list[Block], random: object) -> None:
    shuffled_nodes, shuffled_blocks = list(nodes), list(blocks)
    random.shuffle(shuffled_nodes)  # type: ignore[attr-defined]
    random.shuffle(shuffled_blocks)  # type: ignore[attr-defined]
    assert desired_routes("n1", nodes, blocks) == desired_routes("n1", shuffled_nodes, shuffled_blocks)


@given(NODES, BLOCKS)
def test_blocks_of_nodes_and_no_others_have_a_route_of_their_family_or_a_problem(nodes: list[Node], blocks: list[Block]) -> None:
    """I4: to its owner."""
    found = desired_routes("n1", nodes, blocks)
    destinations = {route.destination for route in found.routes}
    named = " ".join(problem.text for problem in found.problems)
    if not nodes:  # a store without any node is not believed: nothing is planned, and that is said
        assert [problem.id for problem in found.problems] == ["store-empty"]
        return
    uids = {node.uid for node in nodes}
    owned = {block.cidr for block in blocks if block.node_uid in uids}
    assert all(cidr in destinations or str(cidr) in named for cidr in owned)
    assert destinations <= owned  # those of removed nodes are on their way back: no traffic goes there, and nobody need act
    assert all(route.next_hop is None or route.next_hop.version == route.destination.version for route in found.routes)
