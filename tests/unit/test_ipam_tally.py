"""Sums of addresses: against a model that looks at every single address, and on the state of an ipamd."""

from ipaddress import IPv4Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from ipam.blocks import Block, Ranges, ranges_of, reserved_in
from ipam.counts import WatchLag
from ipam.tally import Tally, use_of
from romana.keys import Network
from tests.ipamd import Clock

NOW_S = 100.0
NETWORK = IPv4Network("10.0.0.0/26")
GROUP = IPv4Network("10.0.0.0/27")
BLOCKS = [Block(cidr) for cidr in NETWORK.subnets(new_prefix=29)]

States = st.lists(st.sampled_from(["unused", "held", "cooling", "rested"]), min_size=64, max_size=64)
Reserved = st.lists(
    st.integers(0, 63).flatmap(lambda start: st.sampled_from([32, 31, 30]).map(lambda mask: (start, mask))), max_size=4
)


def reserved_ranges(chosen: list[tuple[int, int]]) -> Ranges:
    return ranges_of([ip_network((int(NETWORK.network_address) + start, mask), strict=False) for start, mask in chosen])


def block_of(cidr: Network, states: list[str], reserved: Ranges) -> Block:
    block = Block(cidr, reserved=reserved_in(cidr, reserved))
    for offset in range(block.size):
        ip = block.ip(offset)
        match states[int(ip) - int(NETWORK.network_address)]:
            case "held":
                block = block.with_held(ip)
            case "cooling":
                block = block.with_cooling(ip, NOW_S + 1)
            case "rested":
                block = block.with_cooling(ip, NOW_S)
    return block


def expected(cidr: Network, states: list[str], reserved: Ranges) -> tuple[int, int, int, int]:
    """Allocated, cooling, reserved, free, by looking at each address."""
    found = {"allocated": 0, "cooling": 0, "reserved": 0, "free": 0}
    for ip in cidr:
        state = states[int(ip) - int(NETWORK.network_address)]
        kept = any(start <= int(ip) < end for start, end in reserved)
        word = {"held": "allocated", "cooling": "cooling"}.get(state) or ("reserved" if kept else "free")
        found[word] += 1
    return found["allocated"], found["cooling"], found["reserved"], found["free"]


@given(States, Reserved, st.sets(st.integers(0, 7)))
def test_sums_are_those_of_looking_at_each_address(states: list[str], chosen: list[tuple[int, int]], known: set[int]) -> None:
    """Blocks that nobody has hold no address: only the known ones are looked at."""
    reserved = reserved_ranges(chosen)
    cidrs = [BLOCKS[number].cidr for number in sorted(known)]
    states = [state if number // 8 in known else "unused" for number, state in enumerate(states)]
    tally = Tally()
    tally.network("net", NETWORK, reserved)
    tally.group("net", "g", GROUP, reserved)
    for cidr in cidrs:
        inside = "g" if cidr.subnet_of(GROUP) else None  # type: ignore[arg-type] # all are IPv4
        tally.take("net", inside, "n1", block_of(cidr, states, reserved), NOW_S)
    for use, cidr in ((tally.networks["net"], NETWORK), (tally.groups["net", "g"], GROUP)):
        assert (use.allocated, use.cooling, use.reserved, use.free) == expected(cidr, states, reserved)
        assert use.capacity == cidr.num_addresses == use.allocated + use.cooling + use.reserved + use.free
    wanted = [expected(cidr, states, reserved) for cidr in cidrs]
    if wanted:
        node = tally.nodes["n1", "net"]
        assert (node.allocated, node.cooling, node.reserved, node.free) == tuple(map(sum, zip(*wanted, strict=True)))
        assert (node.capacity, node.blocks) == (8 * len(cidrs), len(cidrs))


def test_a_block_of_ipv6_is_counted_however_large() -> None:
    block = Block(ip_network("fd00::/64")).with_held(ip_network("fd00::5").network_address)
    use = use_of(block, NOW_S)
    assert (use.capacity, use.allocated, use.free) == (2**64, 1, 2**64 - 1)


def test_a_node_without_a_block_and_a_place_that_is_gone_are_counted_all_the_same() -> None:
    tally = Tally()
    tally.node("n1", ["net"])
    tally.take("other", None, None, BLOCKS[0], NOW_S)
    assert (tally.nodes["n1", "net"].capacity, tally.nodes["n1", "net"].blocks) == (0, 0)


def test_lag_is_from_our_commit_to_the_watch_and_only_once() -> None:
    clock = Clock()
    lag = WatchLag(clock)
    lag.wrote(5)
    lag.wrote(5)
    clock.now_s += 0.2
    lag.wrote(7)
    lag.heard(6)
    assert sum(lag.seconds.spreads[()].counts) == 1
    assert abs(lag.seconds.spreads[()].sum - 0.2) < 1e-6
    lag.wrote(6)  # the watch was faster than the answer
    lag.heard(9)
    assert sum(lag.seconds.spreads[()].counts) == 3
    assert lag.seconds.spreads[()].counts[0] == 2  # 0, and 7 at once
    lag.forget()
    lag.wrote(1)
    lag.heard(1)
    assert sum(lag.seconds.spreads[()].counts) == 4
